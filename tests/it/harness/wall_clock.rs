//! The wall clock of one server, that a test sets: the one of libfaketime, which `tests/run` installs. The monotonic
//! clock runs on, as it does on a real machine when somebody sets its calendar.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::Server;

/// What a server and its commands, and nobody else, take for the time.
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// The machine's time, until it is set. From the next start on it is this clock that the server sees.
    pub fn of_the_machine(server: &mut Server) -> Self {
        let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
        let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
        let library = libraries.find(|library| library.exists()).expect("libfaketime is missing; run tests/run");
        let clock = Self { file: server.folder().join("clock") };
        clock.set(0);
        server.environment("LD_PRELOAD", library.to_str().unwrap());
        server.environment("FAKETIME_TIMESTAMP_FILE", clock.file.to_str().unwrap());
        for name in ["FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC"] {
            server.environment(name, "1");
        }
        clock
    }

    /// A clock that shows this time now: for data that was stored then, and would be too old today.
    pub fn at(server: &mut Server, now: Timestamp) -> Self {
        let clock = Self::of_the_machine(server);
        clock.set(now.as_second() - Timestamp::now().as_second());
        clock
    }

    /// Sets it to so many seconds after, or before, the machine's.
    pub fn set(&self, offset_s: i64) {
        // The server reads the file whenever it asks for the time, and must never find half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{offset_s:+}\n")).unwrap();
        fs::rename(new, &self.file).unwrap();
    }
}

/// Takes away what libfaketime shares with the children of a process that has none; it would stay behind after a kill.
pub fn clean_up_after(process: u32) {
    for name in ["faketime_shm_", "sem.faketime_sem_"] {
        let _ = fs::remove_file(Path::new("/dev/shm").join(format!("{name}{process}")));
    }
}
