//! The demo shows the main job to whoever types one command.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{BINARY, wait_guarded};

#[test]
fn the_demo_delivers_a_morning_signed_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(BINARY)
        .args(["demo", "--listen", "127.0.0.1:0"])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut shown = Vec::new();
    for line in lines {
        let is_end = line.starts_with("Ctrl-C ends the demo");
        shown.push(line);
        if is_end {
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        }
    }
    let status = wait_guarded(&mut child, "the demo");
    assert!(status.success(), "the demo ended with {status}: {shown:#?}");

    let attempts: Vec<&String> = shown.iter().filter(|line| line.starts_with("  clock_in ")).collect();
    assert!(attempts.iter().all(|line| line.contains("signature valid")), "{attempts:#?}");
    assert_eq!(attempts.iter().filter(|line| line.contains("answered 200")).count(), 6, "{attempts:#?}");
    let refused: Vec<_> = attempts.iter().filter(|line| line.contains("answered 503")).collect();
    assert_eq!(refused.len(), 1, "{attempts:#?}");
    assert!(attempts.iter().any(|line| line.contains("attempt 2  answered 200")), "{attempts:#?}");
    assert!(shown.iter().any(|line| line.contains("/sign-in/link?link=")), "{shown:#?}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo left {left:?}");
}
