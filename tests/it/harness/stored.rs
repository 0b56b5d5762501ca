//! A database that an earlier version has left.

use std::{fs, path::Path, process::Command};

/// Puts the database of format 1 from `tests/formats` into a folder. A server was stopped, and then it was written to:
///
/// | Event | Key | For 1, active | For 2, paused | For 3, paused |
/// |---|---|---|---|---|
/// | 1 | `first` | delivered | failed once, waits | never attempted |
/// | 2 | `second` | delivered | never attempted | never attempted |
/// | 3 | | never attempted | never attempted | never attempted |
///
/// Subscription 1 leads to a port where nobody listens.
pub fn put_database_of_format_1(folder: &Path) {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/1.redb.gz");
    let unpacked = Command::new("gzip").args(["-dc", stored.to_str().unwrap()]).output().expect("gzip runs");
    assert!(unpacked.status.success(), "{unpacked:?}");
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("tempclock.redb"), unpacked.stdout).unwrap();
}
