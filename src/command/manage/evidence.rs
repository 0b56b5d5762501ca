//! `evidence`: what the events of a worker were, and where they went, on stdout.

use std::io::{self, Write as _};

use crate::cli::EvidenceArgs;
use crate::command::client::control_api::with_api;
use crate::command::client::query::time_parameter;
use crate::command::failure::failed;
use crate::command::{Exit, Outcome};

pub fn run(args: EvidenceArgs) -> Outcome {
    let EvidenceArgs { account, worker, since, until, format } = args;
    let (since, until) = (since.map(time_parameter), until.map(time_parameter));
    let query = [
        ("worker_id", Some(worker.as_str())),
        ("format", Some(format.name())),
        ("since", since.as_deref()),
        ("until", until.as_deref()),
    ];
    let query: Vec<_> = query.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
    with_api(&account, |api| {
        let mut stream = api.stream("/evidence", &query)?;
        let mut out = io::stdout().lock();
        let copied = io::copy(&mut stream, &mut out).and_then(|_| out.flush());
        copied.map_err(|error| match error.kind() {
            // As of every program in a pipe: who reads has what they want.
            io::ErrorKind::BrokenPipe => (Exit::Failed, String::new()),
            _ => failed(format!("the evidence is incomplete: {error}")),
        })
    })
}
