//! An upgrade that is interrupted, and one of a store that lacks a table.

use std::process::Command;

use redb::{ReadableDatabase as _, backends::InMemoryBackend};

use super::*;
use crate::storage::redb::copy::verify;
use crate::storage::redb::file::formats;

/// A database of format 2; `tests/it/harness/stored.rs` says what is in it.
fn stored() -> Database {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats/2-clear.redb.gz");
    let unpacked = Command::new("gzip").args(["-dc", file]).output().unwrap();
    assert!(unpacked.status.success(), "{unpacked:?}");
    let backend = InMemoryBackend::new();
    redb::StorageBackend::set_len(&backend, unpacked.stdout.len() as u64).unwrap();
    redb::StorageBackend::write(&backend, 0, &unpacked.stdout).unwrap();
    Database::builder().create_with_backend(backend).unwrap()
}

fn set(db: &Database, name: &'static str, value: u128) {
    let transaction = begin(db).unwrap();
    transaction.open_table(tables::META).unwrap().insert(name, value).unwrap();
    transaction.commit().unwrap();
}

fn format(db: &Database) -> u128 {
    db.begin_read().unwrap().open_table(tables::META).unwrap().get(tables::FORMAT).unwrap().unwrap().value()
}

#[test]
fn an_upgrade_goes_on_wherever_it_was_interrupted() {
    let mut interrupted_at = 0;
    loop {
        let db = stored();
        set(&db, tables::UPGRADED_FROM, 2);
        let mut upgrade = Upgrade { db: &db, rows: 3, all: 0, progress: Progress::of("a test") };
        let is_done = (0..interrupted_at).any(|_| !upgrade.step().unwrap());
        formats::run_steps(&db).unwrap();
        let report = verify::rows(&db).unwrap();
        assert_eq!((report.pending, &report.faults[..]), (9, &[][..]), "after {interrupted_at} commits");
        assert_eq!(format(&db), 3);
        if is_done {
            break;
        }
        interrupted_at += 1;
    }
    assert!(interrupted_at > 8, "it takes {interrupted_at} commits only: that proves little");
}

#[test]
fn a_missing_table_is_named_and_nothing_is_changed() {
    for begun in [0, 2] {
        for name in ["events", "outbox", "deliveries", "idempotency", "purges"] {
            let db = stored();
            set(&db, tables::UPGRADED_FROM, 2);
            let mut upgrade = Upgrade { db: &db, rows: 1, all: 0, progress: Progress::of("a test") };
            (0..begun).for_each(|_| assert!(upgrade.step().unwrap()));
            let transaction = begin(&db).unwrap();
            let is_it = |table: &redb::UntypedTableHandle| table.name().starts_with(name);
            let table = transaction.list_tables().unwrap().find(|table| {
                is_it(table) && (begun == 0 || name == "deliveries" || table.name().ends_with("format_2"))
            });
            let table = table.unwrap();
            transaction.delete_table(table).unwrap();
            transaction.commit().unwrap();
            let before = format(&db);
            let said = formats::run_steps(&db).unwrap_err().to_string();
            assert!(said.contains(name), "{said}");
            assert_eq!(format(&db), before);
        }
    }
}
