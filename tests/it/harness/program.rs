//! Commands of the binary that run to their end.

use std::{
    io::{Read, Write as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{PATIENCE, eventually};

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_tempclock-webhooks");

/// Writes a program that is started soon, with another one: a program cannot be started while somebody has it open for
/// writing, as each child has every open file of this process until it runs.
#[track_caller]
pub fn write_program(path: &Path, content: &[u8]) {
    let mut writer = Command::new("sh");
    writer.args(["-c", r#"cat >"$0" && chmod 755 "$0""#]).arg(path).stdin(Stdio::piped());
    let mut child = writer.spawn().unwrap();
    child.stdin.take().unwrap().write_all(content).unwrap();
    assert!(child.wait().unwrap().success(), "{} could not be written", path.display());
}

/// What a command left behind.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command of the binary to its end.
#[track_caller]
pub fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    run_with(arguments, environment, b"")
}

/// Runs a command of the binary with this on stdin to its end.
#[track_caller]
pub fn run_with(arguments: &[&str], environment: &[(&str, &str)], input: &[u8]) -> Output {
    run_behind(&[], arguments, environment, input)
}

/// Runs a command of the binary behind other words, such as `nice`, to its end.
#[track_caller]
pub(super) fn run_behind(words: &[String], arguments: &[&str], environment: &[(&str, &str)], input: &[u8]) -> Output {
    let mut child = command(words, environment.iter().copied())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // A command that does not read may end before it is all written.
    thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = read_in_background(child.stdout.take().unwrap());
    let stderr = read_in_background(child.stderr.take().unwrap());
    let code = wait_guarded(&mut child, &format!("{arguments:?}")).code();
    Output { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn read_in_background(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).expect("UTF-8 from the binary");
        text
    })
}

/// Waits for the end of a process, and ends it when that takes too long.
#[track_caller]
pub fn wait_guarded(child: &mut Child, what: &str) -> ExitStatus {
    let begun = Instant::now();
    eventually(&format!("the end of {what}"), || {
        if begun.elapsed() + Duration::from_secs(1) > PATIENCE {
            let _ = child.kill();
        }
        child.try_wait().unwrap()
    })
}

/// The binary behind other words, which takes nothing from the environment of the tests but what is given here.
pub(super) fn command<'a>(words: &[String], environment: impl Iterator<Item = (&'a str, &'a str)>) -> Command {
    let mut all = words.iter().map(String::as_str).chain([BINARY]);
    let mut command = Command::new(all.next().unwrap());
    command.args(all);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        if text.starts_with("TEMPCLOCK_")
            || text.starts_with("RUST_LOG")
            || text.ends_with("_PROXY")
            || text == "COLUMNS"
        {
            command.env_remove(&name);
        }
    }
    command.envs(environment);
    command
}
