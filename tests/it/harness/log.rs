//! What a server writes to stderr, line by line as it comes.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use super::PATIENCE;

/// The lines of stderr so far.
#[derive(Default)]
pub struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// A log that fills itself in the background for as long as there is something to read.
    pub fn of(stderr: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let filled = Arc::clone(&log);
        thread::spawn(move || filled.fill(stderr));
        log
    }

    fn fill(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            self.state.lock().unwrap().lines.push(line);
            self.changed.notify_all();
        }
        self.state.lock().unwrap().ended = true;
        self.changed.notify_all();
    }

    pub fn text(&self) -> String {
        let state = self.state.lock().unwrap();
        state.lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    /// The address in the line that says that the server is ready, or `None` when there is none.
    pub fn wait_for_address(&self) -> Option<SocketAddr> {
        let begun = Instant::now();
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(address) = state.lines.iter().find_map(|line| {
                let rest = line.split_once("listening on http")?.1.split_once("://")?.1;
                let end = rest.find(|c: char| !c.is_ascii_hexdigit() && !".:[]".contains(c));
                rest[..end.unwrap_or(rest.len())].parse().ok()
            }) {
                return Some(address);
            }
            let left = PATIENCE.checked_sub(begun.elapsed())?;
            if state.ended {
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    pub fn wait_for_end(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_timeout_while(state, PATIENCE, |state| !state.ended).unwrap());
    }
}
