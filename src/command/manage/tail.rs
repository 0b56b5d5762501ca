//! `deliveries tail`: asks the running server every second what has been attempted since, and prints it. Runs until
//! Ctrl-C.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use crate::cli::AccountArgs;
use crate::command::client::control_api::{ask, running};
use crate::command::client::reply::ApiReply;
use crate::command::console::output::{counted, put, put_json, rows, say, text, time};
use crate::command::server::serve::{self, End};
use crate::command::{Failure, Outcome};
use crate::control::client::{Client, ControlSocket};

const PAUSE: Duration = Duration::from_secs(1);

pub fn run(account: &AccountArgs, subscription: Option<u32>) -> Outcome {
    let socket = running(account)?;
    let (ends, end) = channel();
    serve::watch_signals(ends, || {});
    let tail = Tail { socket, account, subscription: subscription.map(|id| id.to_string()) };
    tail.follow(&end)
}

struct Tail<'a> {
    socket: ControlSocket,
    account: &'a AccountArgs,
    subscription: Option<String>,
}

impl Tail<'_> {
    fn follow(&self, end: &Receiver<End>) -> Outcome {
        let (_, mut position) = self.look(None)?;
        say("Following deliveries; Ctrl-C ends it.");
        let mut pause = PAUSE;
        loop {
            match end.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            let (page, next) = self.look(Some(&position))?;
            let missed = page["missed"].as_u64().unwrap_or(0);
            if missed > 0 {
                say(&format!("{} came too fast to be shown.", counted(missed, "attempt", "attempts")));
            }
            for delivery in rows(&page) {
                self.put(delivery)?;
            }
            pause = if page["has_more"] == true { Duration::ZERO } else { PAUSE };
            position = next;
        }
    }

    /// What was attempted from a position on, and the next position. The connection is given back each time: the server
    /// has few of them for commands.
    fn look(&self, position: Option<&str>) -> Result<(ApiReply, String), Failure> {
        let mut query = vec![("account", self.account.account.as_str())];
        query.extend(self.subscription.as_deref().map(|id| ("subscription", id)));
        query.extend(position.map(|position| ("position", position)));
        let page = ask(&Client::new(&self.socket), "GET", "/control/attempts", &query, None)?;
        let next = page["position"].to_string();
        Ok((page, next))
    }

    fn put(&self, delivery: &Value) -> Outcome {
        if self.account.json {
            return put_json(delivery);
        }
        let (status, event, id) = (text(delivery, "status"), text(delivery, "event"), text(delivery, "id"));
        let mut line = format!(
            "{status:9} {event:16} for {} attempt {} {id}",
            delivery["subscription_id"], delivery["attempt_count"]
        );
        let error = text(delivery, "error");
        if !error.is_empty() {
            line = format!("{line}\n          {error}");
        }
        let next = time(delivery, "next_attempt_at");
        if !next.is_empty() {
            line = format!("{line}\n          next attempt at {next}");
        }
        put(&format!("{line}\n"))
    }
}
