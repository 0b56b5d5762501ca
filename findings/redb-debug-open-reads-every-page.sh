#!/bin/sh
# redb 4.6.0 (Rust): in a debug build, opening a database that was closed in order reads all of it.
#
# Behaviour: with debug assertions, Database::open walks through every page of the file, to note which are
#   allocated. In a release build the same open of the same file reads a few pages.
# A good guess: after an orderly close an open reads a header and the roots of the tables, whatever the build.
# Seen, for a file with 32 MiB of values (bytes that the open has read, to the next MiB below):
#   debug: 32 or more
#   release: 1 or less
# Why it matters to a webhook sender: a test that watches how long a start takes, or how much it reads, as the
#   store grows says nothing of what is installed: in its debug build the start grows with the store.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat > "$work/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
redb = "=4.6.0"
TOML
cat > "$work/src/main.rs" <<'RUST'
use redb::{Database, TableDefinition};

const VALUES: TableDefinition<u64, &[u8]> = TableDefinition::new("values");

/// Bytes that this thread has read so far.
fn read_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

fn main() {
    let path = std::env::args().nth(1).unwrap();
    {
        let db = Database::create(&path).unwrap();
        let transaction = db.begin_write().unwrap();
        for key in 0..32 * 1024 {
            transaction.open_table(VALUES).unwrap().insert(key, [7; 1024].as_slice()).unwrap();
        }
        transaction.commit().unwrap();
    }
    let before = read_bytes();
    let _db = Database::open(&path).unwrap();
    let mebibytes = (read_bytes() - before) / (1 << 20);
    println!("{}", if mebibytes >= 32 { "32 or more" } else if mebibytes <= 1 { "1 or less" } else { "between" });
}
RUST
cd "$work"
export CARGO_TARGET_DIR="$work/target"
{
    printf 'debug: ' && nice cargo run -q -j1 -- "$work/debug.redb"
    printf 'release: ' && nice cargo run -q -j1 --release -- "$work/release.redb"
} | tee seen
cat > expected <<'TEXT'
debug: 32 or more
release: 1 or less
TEXT
diff expected seen
