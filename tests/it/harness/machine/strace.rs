//! strace on a running server: sees its system calls and can make them fail.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Server, eventually};

/// How long strace has to let go of a server by itself, which takes milliseconds.
const LETS_GO: Duration = Duration::from_secs(5);

/// An strace that is attached to all threads of a server.
pub struct Strace {
    child: Child,
    trace: PathBuf,
}

impl Strace {
    /// Attaches with further arguments of strace.
    pub fn attach(server: &Server, arguments: &[&str]) -> Self {
        let trace = server.folder().join("trace");
        let mut child = Command::new("strace")
            .args(["-f", "-p", &server.pid().to_string()])
            .args(arguments)
            .arg("-o")
            .arg(&trace)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("strace cannot be started ({error}); run tests/run"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let attached = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("attached")));
        assert!(attached.is_some(), "strace could not attach to the server");
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, trace }
    }

    /// What it wrote so far.
    pub fn written(&self) -> String {
        fs::read_to_string(&self.trace).unwrap_or_default()
    }

    /// Takes strace off again, and gives what it wrote.
    pub fn detach(mut self) -> String {
        if self.child.try_wait().unwrap().is_none() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        }
        // strace 6.1 can wait without end for threads of a process that is ending just then. Once it is killed, the kernel
        // lets go of them.
        let asked = Instant::now();
        eventually("strace lets go of the server", || {
            if asked.elapsed() > LETS_GO {
                let _ = self.child.kill();
            }
            self.child.try_wait().unwrap()
        });
        fs::read_to_string(&self.trace).unwrap()
    }
}
