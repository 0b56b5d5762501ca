//! Faults from strace: a system call of the server that fails, is late, or is its last.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Server, Strace};

/// A call, what becomes of it, and which one in the order of its thread.
#[derive(Debug, Clone, Copy)]
pub struct Fault<'a> {
    /// Such as `fdatasync`.
    pub call: &'a str,
    /// Such as `error=EIO` or `signal=KILL`.
    pub what: &'a str,
    /// strace counts for each thread on its own, from when it is there.
    pub number: u32,
}

/// A fault in a running server.
pub struct Tracer(Strace);

impl Fault<'_> {
    /// Arms the fault for every call from now on.
    pub fn arm(self, server: &Server) -> Tracer {
        let expressions = self.expressions();
        Tracer(Strace::attach(server, &expressions.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    /// The words to put before `serve`, so that the fault is armed from its first call on, for calls about these
    /// files alone. `-D` makes the server the child of the test all the same.
    pub fn words(self, trace: &Path, files: &[PathBuf]) -> Vec<String> {
        let mut words: Vec<String> = ["strace", "-D", "-f", "-o"].map(str::to_owned).into();
        words.push(trace.to_str().unwrap().to_owned());
        for file in files {
            words.extend(["-P".to_owned(), file.to_str().unwrap().to_owned()]);
        }
        words.extend(self.expressions());
        words
    }

    fn expressions(self) -> [String; 4] {
        let Self { call, what, number } = self;
        let [trace, inject] = [format!("trace={call}"), format!("inject={call}:{what}:when={number}")];
        ["-e".to_owned(), trace, "-e".to_owned(), inject]
    }
}

impl Tracer {
    /// Takes strace off again, and tells whether the fault has struck.
    pub fn disarm(self) -> bool {
        let trace = self.0.detach();
        // A signal leaves no mark but its effect.
        has_mark(&trace) || trace.contains("killed by SIGKILL")
    }
}

/// Tells from what strace wrote whether a call was made to fail or to take long.
pub fn was_injected(trace: &Path) -> bool {
    let text = fs::read_to_string(trace);
    has_mark(&text.unwrap_or_else(|error| panic!("strace wrote nothing ({error}); run tests/run")))
}

fn has_mark(trace: &str) -> bool {
    trace.contains("INJECTED") || trace.contains("DELAYED")
}
