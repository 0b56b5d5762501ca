//! `doctor`: checks for problems that keep the server from working, and says how to fix them. Read-only. Each check
//! runs on its own thread with a time limit, so that none can hang the command.

mod alerts;
mod context;
mod database;
mod file_system;
mod finding;
mod machine;
mod network;
mod queue;
mod server;
mod unit;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use ureq::Agent;

use self::finding::{Finding, Level};
use super::{Exit, Failure, Outcome, config};
use crate::app;
use crate::cli::DoctorArgs;
use crate::clock::Clock;
use crate::command::client::http_api;
use crate::command::console::layout::wrapped;
use crate::command::console::output::{self, put, put_json};
use crate::command::console::terminal::{Paint, Tone};
use crate::command::doctor::context::{DoctorContext, NETWORK_LIMIT};
use crate::config::{Config, DeliverySection};
use crate::control::client;
use crate::domain::escape::escape_controls;

/// Time limit of a check.
const LIMIT: Duration = Duration::from_secs(15);

/// Indentation of a finding's text after its level, and its minimum width.
const INDENT: usize = 8;
const MIN_CHARS: usize = 20;

pub fn run(args: &DoctorArgs) -> Outcome {
    let mut findings = Vec::new();
    match config::load(&args.config, Vec::new()) {
        Err((_, errors)) => findings.extend(
            errors.lines().map(|error| Finding::problem("configuration", error, "Fix it; the other checks need it")),
        ),
        Ok(loaded) => {
            let file = config::file(&args.config);
            let source = file.map_or("the defaults".to_owned(), |path| path.display().to_string());
            findings.push(Finding::ok("configuration", format!("{source}: valid")));
            for warning in loaded.warnings {
                let fix = format!("If unintended, change it in {source}; config show shows the source of each value");
                findings.push(Finding::warning("configuration", warning, fix));
            }
            let is_known = args.api.api_url.is_some() || loaded.config.server.listen.port() != 0;
            let subject = Arc::new(DoctorContext {
                url: is_known.then(|| http_api::url(&args.api, &loaded.config)),
                is_own: args.api.api_url.is_none(),
                key: http_api::key(&args.api)?,
                control: client::connect(&app::control_socket(&loaded.config)).filter(|_| args.api.api_url.is_none()),
                agent: agent(&loaded.config)?,
                host: args.host.clone(),
                now: Clock::start().wall(),
                config: loaded.config,
            });
            findings.extend(run_checks(&subject));
        }
    }
    let shown = show(&findings, args.json);
    let has_problem = findings.iter().any(|finding| finding.level == Level::Problem);
    // The result counts even if the output cannot be written.
    if has_problem { Err((Exit::Failed, String::new())) } else { shown }
}

/// An HTTP client with the server's trusted roots, or with the public ones if those cannot be read, which is a finding
/// of its own.
fn agent(config: &Config) -> Result<Agent, Failure> {
    http_api::agent(config, NETWORK_LIMIT).or_else(|_| {
        let delivery = DeliverySection { ca_certificates: None, ..config.delivery.clone() };
        http_api::agent(&Config { delivery, ..config.clone() }, NETWORK_LIMIT)
    })
}

fn run_checks(subject: &Arc<DoctorContext>) -> Vec<Finding> {
    let check = |name, look: fn(&DoctorContext) -> Vec<Finding>| {
        let subject = Arc::clone(subject);
        within(name, move || look(&subject)).unwrap_or_else(|late| vec![late])
    };
    let mut findings = check("data folder", machine::data_folder);
    findings.extend(check("file system", file_system::check));
    findings.extend(check("database", database::check));
    findings.extend(check("files", machine::files));
    findings.extend(check("disk", machine::disk));
    findings.extend(check("unit", unit::check));
    findings.extend(check("descriptors", machine::descriptors));
    let is_up = Arc::clone(subject);
    let (is_up, seen) = match within("server", move || server::check(&is_up)) {
        Ok(seen) => seen,
        Err(late) => (false, vec![late]),
    };
    findings.extend(seen);
    findings.extend(check("alerts", alerts::check));
    // Also true with a random port, where HTTP cannot be checked.
    let is_up = is_up || subject.control.is_some();
    let asked = Arc::clone(subject);
    let outbox = match within("queue", move || queue::look(&asked, is_up)) {
        Ok(outbox) => outbox,
        Err(late) => Err(late),
    };
    let outbox = outbox.map_err(|finding| findings.push(finding)).ok();
    let behind_after = subject.config.alerts.feed_behind_after;
    findings.push(machine::clock(subject.now, outbox.as_ref().and_then(|outbox| outbox.newest_event)));
    findings.extend(outbox.as_ref().and_then(|outbox| machine::left_out(outbox.left_out)));
    findings.extend(outbox.iter().flat_map(|outbox| outbox.assess(subject.now, is_up, behind_after)));
    for target in network::targets(subject, outbox.as_ref(), &mut findings) {
        let subject = Arc::clone(subject);
        let looked = within("network", move || network::check(&subject, &target));
        for finding in looked.unwrap_or_else(|late| vec![late]) {
            // Two ports of one host yield the same finding.
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings
}

/// Runs a check, waiting at most [`LIMIT`].
fn within<T: Send + 'static>(name: &'static str, look: impl FnOnce() -> T + Send + 'static) -> Result<T, Finding> {
    let (sender, result) = channel();
    let started = std::thread::Builder::new().name("check".to_owned()).spawn(move || drop(sender.send(look())));
    let seconds = LIMIT.as_secs();
    started.ok().and_then(|_| result.recv_timeout(LIMIT).ok()).ok_or_else(|| {
        let fix = "Something that the check uses hangs: the disk, a network folder, the name server, or systemd";
        Finding::problem(name, format!("the check did not finish within {seconds} s"), fix)
    })
}

fn show(findings: &[Finding], is_json: bool) -> Outcome {
    if is_json {
        return put_json(&serde_json::json!({"data": findings}));
    }
    let paint = Paint::for_stdout();
    for Finding { check, level, message, fix } in findings {
        let (tone, word) = match level {
            Level::Ok => (Tone::Good, "ok"),
            Level::Warning => (Tone::Doubtful, "warning"),
            Level::Problem => (Tone::Bad, "problem"),
        };
        let fix = fix.as_ref().map(|fix| format!(". Fix: {}", escape_controls(fix))).unwrap_or_default();
        let space = " ".repeat(INDENT - word.len());
        let text = wrapped(
            &format!("{check}: {}{fix}", escape_controls(message)),
            output::width().saturating_sub(INDENT).max(MIN_CHARS),
        );
        put(&format!("{}{space}{}\n", paint.word(tone, word), text.join(&format!("\n{:INDENT$}", ""))))?;
    }
    Ok(())
}
