//! Checks the systemd unit with `systemctl`: installed, hardened, running, enabled at boot.

use std::collections::HashMap;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::finding::Finding;
use crate::command::doctor::context::DoctorContext;

const UNIT: &str = "unit";
const NAME: &str = "tempclock-webhooks.service";
/// The most important hardening options.
const HARDENED: [(&str, &str); 6] = [
    ("NoNewPrivileges", "yes"),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateDevices", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
];
const ALSO_HARDENED: [&str; 7] =
    ["LoadState", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload", "User", "NRestarts"];
/// Time limit of `systemctl`.
const LIMIT: Duration = Duration::from_secs(10);

pub fn check(_: &DoctorContext) -> Vec<Finding> {
    let names = ALSO_HARDENED.into_iter().chain(HARDENED.map(|(name, _)| name)).collect::<Vec<_>>().join(",");
    match ask(&["show", NAME, "--no-pager", &format!("--property={names}")]) {
        Some(answer) => assess(&answer),
        None => vec![Finding::ok(UNIT, "systemd does not run on this machine")],
    }
}

/// The output of `systemctl`; `None` if systemd is not available.
fn ask(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("systemctl");
    let mut child =
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let is_good = wait(&mut child);
    let text = reader.join().ok()?.ok()?;
    is_good.then_some(text)
}

fn wait(child: &mut Child) -> bool {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if begun.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(20)),
            _ => {
                drop(child.kill());
                drop(child.wait());
                return false;
            }
        }
    }
}

fn assess(answer: &str) -> Vec<Finding> {
    let properties: HashMap<&str, &str> = answer.lines().filter_map(|line| line.split_once('=')).collect();
    let property = |name: &str| properties.get(name).copied().unwrap_or_default();
    match property("LoadState") {
        "loaded" => {}
        "not-found" | "" => {
            let fix = format!("Copy systemd/{NAME} to /etc/systemd/system/, then: systemctl enable --now {NAME}");
            return vec![Finding::warning(UNIT, format!("{NAME} is not installed"), fix)];
        }
        state => {
            let fix = format!("Check: systemctl status {NAME}");
            return vec![Finding::problem(UNIT, format!("{NAME} cannot be used: {state}"), fix)];
        }
    }
    let mut findings = vec![assess_state(property("ActiveState"), property("SubState"), property("NRestarts"))];
    if !matches!(property("UnitFileState"), "enabled" | "static" | "generated" | "alias" | "indirect") {
        let fix = format!("systemctl enable {NAME}");
        findings.push(Finding::warning(UNIT, format!("{NAME} is not started at boot"), fix));
    }
    if property("NeedDaemonReload") == "yes" {
        let fix = format!("systemctl daemon-reload, then: systemctl restart {NAME}");
        findings.push(Finding::warning(UNIT, format!("{NAME} was changed after systemd read it"), fix));
    }
    if matches!(property("User"), "" | "root") {
        let fix = format!("Set User= and Group= as in systemd/{NAME}");
        findings.push(Finding::warning(UNIT, format!("{NAME} runs as root"), fix));
    }
    let lacking = HARDENED.iter().filter(|(name, wanted)| property(name) != *wanted);
    let lacking = lacking.map(|(name, wanted)| format!("{name}={wanted}")).collect::<Vec<_>>().join(" ");
    if !lacking.is_empty() {
        let fix = format!("Copy it from systemd/{NAME}");
        findings.push(Finding::warning(UNIT, format!("{NAME} is not hardened; it lacks {lacking}"), fix));
    }
    findings
}

fn assess_state(active: &str, sub: &str, restarts: &str) -> Finding {
    match active {
        "active" | "reloading" if matches!(restarts, "" | "0") => Finding::ok(UNIT, format!("{NAME} runs")),
        "active" | "reloading" => {
            let fix = format!("Find the cause: journalctl -u {NAME} -p warning");
            Finding::warning(UNIT, format!("{NAME} runs, but was restarted {restarts} times after failures"), fix)
        }
        "inactive" => Finding::warning(UNIT, format!("{NAME} does not run"), format!("systemctl start {NAME}")),
        _ => {
            let fix = format!("Find the cause: journalctl -u {NAME} -e");
            Finding::problem(UNIT, format!("{NAME} is {active} ({sub})"), fix)
        }
    }
}
