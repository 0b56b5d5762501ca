//! `doctor`: looks for whatever keeps the server from working, and says what to do about it. It changes nothing. Each
//! check runs on a thread of its own under a time limit, so that none can hang the command.

mod file_system;
mod finding;
mod machine;
mod network;
mod outbox;
mod server;
mod subject;
mod unit;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use ureq::Agent;

use self::finding::{Finding, Level};
use self::subject::{NETWORK_LIMIT, Subject};
use super::layout::wrapped;
use super::output::{self, put, put_json};
use super::terminal::{Paint, Tone};
use super::{Exit, Failure, Outcome, api, config};
use crate::app;
use crate::cli::DoctorArgs;
use crate::clock::Clock;
use crate::config::{Config, DeliverySection};
use crate::control::client;
use crate::domain::visible::visible;

/// How long one check may take.
const LIMIT: Duration = Duration::from_secs(15);

/// Where the text of a finding begins, behind its level, and the least room that it gets.
const INDENT: usize = 8;
const MIN_CHARS: usize = 20;

pub fn run(args: &DoctorArgs) -> Outcome {
    let mut findings = Vec::new();
    match config::load(&args.config, Vec::new()) {
        Err((_, errors)) => findings.extend(
            errors
                .lines()
                .map(|error| Finding::problem("configuration", error, "Correct it; the other checks need it")),
        ),
        Ok(loaded) => {
            let file = config::file(&args.config);
            let source = file.map_or("the defaults".to_owned(), |path| path.display().to_string());
            findings.push(Finding::ok("configuration", format!("{source}: valid")));
            for warning in loaded.warnings {
                let fix =
                    format!("Change it in {source}, unless it is meant; config show tells where each value is from");
                findings.push(Finding::warning("configuration", warning, fix));
            }
            let is_known = args.api.api_url.is_some() || loaded.config.server.listen.port() != 0;
            let subject = Arc::new(Subject {
                url: is_known.then(|| api::url(&args.api, &loaded.config)),
                key: api::key(&args.api)?,
                control: client::connect(&app::control_socket(&loaded.config)).filter(|_| args.api.api_url.is_none()),
                agent: agent(&loaded.config)?,
                host: args.host.clone(),
                now: Clock::start().wall(),
                config: loaded.config,
            });
            findings.extend(examine(&subject));
        }
    }
    let shown = show(&findings, args.json);
    let has_problem = findings.iter().any(|finding| finding.level == Level::Problem);
    // What was found counts, whether or not anybody reads it.
    if has_problem { Err((Exit::Failed, String::new())) } else { shown }
}

/// A client that trusts whom the server trusts; where these cannot be read, which is a finding, the public ones.
fn agent(config: &Config) -> Result<Agent, Failure> {
    api::agent(config, NETWORK_LIMIT).or_else(|_| {
        let delivery = DeliverySection { ca_certificates: None, ..config.delivery.clone() };
        api::agent(&Config { delivery, ..config.clone() }, NETWORK_LIMIT)
    })
}

fn examine(subject: &Arc<Subject>) -> Vec<Finding> {
    let check = |name, look: fn(&Subject) -> Vec<Finding>| {
        let subject = Arc::clone(subject);
        within(name, move || look(&subject)).unwrap_or_else(|late| vec![late])
    };
    let mut findings = check("data folder", machine::data_folder);
    findings.extend(check("file system", file_system::check));
    findings.extend(check("files", machine::files));
    findings.extend(check("disk", machine::disk));
    findings.extend(check("unit", unit::check));
    let is_up = Arc::clone(subject);
    let (is_up, seen) = match within("server", move || server::check(&is_up)) {
        Ok(seen) => seen,
        Err(late) => (false, vec![late]),
    };
    findings.extend(seen);
    // Also where it takes a port of its own choice, so that nobody could ask it over HTTP.
    let is_up = is_up || subject.control.is_some();
    let asked = Arc::clone(subject);
    let outbox = match within("queue", move || outbox::look(&asked, is_up)) {
        Ok(outbox) => outbox,
        Err(late) => Err(late),
    };
    let outbox = outbox.map_err(|finding| findings.push(finding)).ok();
    findings.push(machine::clock(subject.now, outbox.as_ref().and_then(|outbox| outbox.newest_event)));
    findings.extend(outbox.as_ref().and_then(|outbox| machine::left_out(outbox.left_out)));
    findings.extend(outbox.iter().flat_map(|outbox| outbox.judge(subject.now, is_up)));
    for target in network::targets(subject, outbox.as_ref(), &mut findings) {
        let subject = Arc::clone(subject);
        let looked = within("network", move || network::check(&subject, &target));
        for finding in looked.unwrap_or_else(|late| vec![late]) {
            // Two ports of one host have one name.
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings
}

/// Runs a check, but waits no longer than [`LIMIT`] for it.
fn within<T: Send + 'static>(name: &'static str, look: impl FnOnce() -> T + Send + 'static) -> Result<T, Finding> {
    let (sender, result) = channel();
    let started = std::thread::Builder::new().name("check".to_owned()).spawn(move || drop(sender.send(look())));
    let seconds = LIMIT.as_secs();
    started.ok().and_then(|_| result.recv_timeout(LIMIT).ok()).ok_or_else(|| {
        let fix = "Something that it asks hangs: the disk, a network folder, the name server, or systemd";
        Finding::problem(name, format!("the check did not end within {seconds} s"), fix)
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
        let fix = fix.as_ref().map(|fix| format!(". Fix: {}", visible(fix))).unwrap_or_default();
        let space = " ".repeat(INDENT - word.len());
        let text = wrapped(
            &format!("{check}: {}{fix}", visible(message)),
            output::width().saturating_sub(INDENT).max(MIN_CHARS),
        );
        put(&format!("{}{space}{}\n", paint.word(tone, word), text.join(&format!("\n{:INDENT$}", ""))))?;
    }
    Ok(())
}
