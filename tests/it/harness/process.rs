//! A command that runs until it is told to stop.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::{self, JoinHandle},
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{BINARY, PATIENCE, wait_guarded};

/// A running command, with what it prints.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    /// The lines of stdout that were looked at.
    pub seen: Vec<String>,
}

/// How a command ended.
#[derive(Debug)]
pub struct End {
    pub status: ExitStatus,
    /// All lines of stdout.
    pub stdout: Vec<String>,
    pub stderr: String,
}

impl Process {
    /// Starts the binary with these arguments.
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        Self::spawn(command.args(arguments))
    }

    /// Starts any command.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the command starts");
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        let stderr = child.stderr.take().map(|stderr| thread::spawn(move || read(stderr)));
        Self { child, lines, stderr, seen: Vec::new() }
    }

    /// Waits for the next line of stdout that is as wished.
    #[track_caller]
    pub fn wait_for_line(&mut self, what: &str, wish: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wish(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("never printed: {what}; only {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.child.kill();
                    let stderr = self.stderr.take().map(|reader| reader.join().unwrap());
                    panic!("it ended before {what}: {:#?} {stderr:?}", self.seen)
                }
            }
        }
    }

    /// Sends a signal and waits for the end.
    #[track_caller]
    pub fn stop(mut self, signal: Signal) -> End {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let status = wait_guarded(&mut self.child, "a command that was told to stop");
        let mut stdout = std::mem::take(&mut self.seen);
        stdout.extend(self.lines.iter());
        let stderr = self.stderr.take().map(|reader| reader.join().unwrap()).unwrap_or_default();
        End { status, stdout, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(stderr: ChildStderr) -> String {
    std::io::read_to_string(stderr).expect("UTF-8 from the command")
}
