//! A database that an earlier version has left.

use std::{fs, path::Path, process::Command};

use super::{Server, WallClock};

/// A day after the database of format 1 was stopped: all that waits in it is due, and nothing is too old to keep.
const NEXT_DAY_1: &str = "2026-11-26T15:29:00Z";
/// The same of those of format 2.
const NEXT_DAY_2: &str = "2026-12-01T08:26:00Z";

/// Puts the database of format 1 from `tests/formats` into a server's data folder, and sets its clock to the day after
/// that was stored. A server was stopped, and then it was written to:
///
/// | Event | Key | For 1, active | For 2, paused | For 3, paused |
/// |---|---|---|---|---|
/// | 1 | `first` | delivered | failed once, waits | never attempted |
/// | 2 | `second` | delivered | never attempted | never attempted |
/// | 3 | | never attempted | never attempted | never attempted |
///
/// Subscription 1 leads to a port where nobody listens.
pub fn put_database_of_format_1(server: &mut Server, folder: &Path) {
    put(server, folder, "1", NEXT_DAY_1);
}

/// Puts a database of format 2 there, `clear` or `sealed`. A server was stopped, and then it was written to:
///
/// | Event | Key | For 1, active | For 2, paused | For 3, paused |
/// |---|---|---|---|---|
/// | 1 | `first` | delivered | exhausted, two attempts | exhausted, two attempts |
/// | 2 | `second` | delivered | failed once, waits | failed once, waits |
/// | 3 | | delivered | failed once, waits | never attempted |
/// | 4, `clock_out` | | not asked for | not asked for | never attempted |
/// | 5, 6 | | delivered | never attempted | never attempted |
///
/// Event 6 went to a subscription 4 as well, which was deleted.
pub fn put_database_of_format_2(server: &mut Server, folder: &Path, kind: &str) {
    put(server, folder, &format!("2-{kind}"), NEXT_DAY_2);
}

fn put(server: &mut Server, folder: &Path, name: &str, now: &str) {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/formats/{name}.redb.gz"));
    let unpacked = Command::new("gzip").args(["-dc", stored.to_str().unwrap()]).output().expect("gzip runs");
    assert!(unpacked.status.success(), "{unpacked:?}");
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("tempclock.redb"), unpacked.stdout).unwrap();
    WallClock::at(server, now.parse().unwrap());
}
