//! The wall clock of one server, which a scenario moves: what is kept for days is measured in minutes. `tests/clock` moves
//! it, between the program and its C library; the monotonic clock runs on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Result;

/// What one server takes for the time.
pub struct WallClock {
    library: String,
    file: PathBuf,
    ahead: Duration,
}

impl WallClock {
    /// One that shows the machine's time, with its file in that folder.
    pub fn new(dir: &Path) -> Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clock/build");
        let built = Command::new(script).output()?;
        if !built.status.success() {
            return Err(format!("{script}: {}", String::from_utf8_lossy(&built.stderr)).into());
        }
        let library = String::from_utf8(built.stdout)?.trim_end().to_owned();
        let mut clock = Self { library, file: dir.join("clock"), ahead: Duration::ZERO };
        clock.advance(Duration::ZERO)?;
        Ok(clock)
    }

    /// Lets a program have it.
    pub fn give_to(&self, program: &mut Command) {
        program.env("LD_PRELOAD", &self.library).env("CLOCK_OFFSET_FILE", &self.file);
    }

    /// Moves it ahead.
    pub fn advance(&mut self, by: Duration) -> Result<()> {
        self.ahead += by;
        // The program reads the file whenever it asks for the time, and must never find half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{}\n", self.ahead.as_secs()))?;
        Ok(fs::rename(new, &self.file)?)
    }
}
