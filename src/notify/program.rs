//! Alerts to a program: the JSON on its standard input, an empty environment, no shell. It blocks for 30 seconds at most, and
//! then ends the program.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::domain::alert::Alert;
use crate::notify::way::{HandOverError, Way};

const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Hands alerts to a program.
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// The program at that absolute path.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Way for Program {
    fn name(&self) -> &'static str {
        "command"
    }

    fn hand_over(&self, alerts: &[Alert]) -> Result<(), HandOverError> {
        alerts.iter().try_for_each(|alert| self.run(&alert.envelope()))
    }
}

impl Program {
    fn run(&self, envelope: &str) -> Result<(), HandOverError> {
        let shown = self.path.display();
        let failed = |error: std::io::Error| HandOverError::passing(format!("{shown} could not be run: {error}"));
        let mut command = Command::new(&self.path);
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        // A pipe holds more than an alert, so this waits for nobody. A program that does not read is not wrong.
        if let Some(mut stdin) = child.stdin.take() {
            drop(stdin.write_all(envelope.as_bytes()));
        }
        let end = Instant::now() + LIMIT;
        loop {
            match child.try_wait().map_err(failed)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(HandOverError::passing(format!("{shown} failed: {status}"))),
                None if Instant::now() >= end => {
                    drop(child.kill());
                    drop(child.wait());
                    let seconds = LIMIT.as_secs();
                    return Err(HandOverError::passing(format!("{shown} did not finish within {seconds} s")));
                }
                None => std::thread::sleep(PAUSE),
            }
        }
    }
}
