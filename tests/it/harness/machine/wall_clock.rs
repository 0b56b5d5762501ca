//! The wall clock of one server, that a test sets. `tests/clock` moves it, between the program and its C library; the
//! monotonic clock runs on, as it does on a real machine when somebody sets its calendar.

use std::{fs, path::PathBuf, process::Command, sync::LazyLock};

use jiff::Timestamp;

use crate::harness::Server;

static LIBRARY: LazyLock<String> = LazyLock::new(|| {
    let build = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clock/build");
    let built = Command::new(build).output().expect("bash runs");
    assert!(built.status.success(), "{build}: {}", String::from_utf8_lossy(&built.stderr));
    String::from_utf8(built.stdout).unwrap().trim_end().to_owned()
});

/// What a server and its commands, and nobody else, take for the time.
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// The time of the test, until it is set. From the next start on it is this clock that the server sees.
    pub fn of(server: &mut Server) -> Self {
        let clock = Self { file: server.folder().join("clock") };
        clock.set(0);
        server.environment("LD_PRELOAD", &LIBRARY);
        server.environment("CLOCK_OFFSET_FILE", clock.file.to_str().unwrap());
        clock
    }

    /// A clock that shows this time now: for data that was stored then, and would be too old today.
    pub fn at(server: &mut Server, now: Timestamp) -> Self {
        let clock = Self::of(server);
        clock.set(now.as_second() - Timestamp::now().as_second());
        clock
    }

    /// The kernel's time, also where that of the tests is moved: for a server whose receiver cannot be moved with it.
    pub fn never_moved(server: &mut Server) {
        server.environment("LD_PRELOAD", "");
    }

    /// Sets it to so many seconds after, or before, that of the test.
    pub fn set(&self, offset_s: i64) {
        // The server reads the file whenever it asks for the time, and must never find half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{offset_s}\n")).unwrap();
        fs::rename(new, &self.file).unwrap();
    }
}
