#!/bin/sh
# redb 4.6.0: opening a database that was closed cleanly, and closing it again, can make its file longer.
#
# Behaviour: after 1,000 rows of 300 bytes in one transaction the closed file has 352,256 bytes. An open
#   and close with no transaction in between leaves 368,640: closing writes its allocator state anew
#   into fresh pages. Further rounds leave the length alone.
# A good guess: whoever writes nothing changes nothing, least of all the length of the file.
# Seen:
#   closed after the write: 352256
#   opened and closed: 368640
#   opened and closed: 368640
# Why it matters to a webhook sender: an outbox is opened by more than the server, such as a command
#   that checks or lists it. A test that such a command leaves the data alone cannot compare files,
#   and a budget for disk space that allows no growth is passed by a mere restart.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat > "$work/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
redb = "=4.6.0"
libc = "=0.2.191"
END
cat > "$work/src/main.rs" <<'END'
use redb::{Database, TableDefinition};

const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");
const FILE: &str = "outbox.redb";

fn main() {
    let length = || std::fs::metadata(FILE).unwrap().len();

    let database = Database::create(FILE).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut rows = transaction.open_table(ROWS).unwrap();
        for id in 0..1000 {
            rows.insert(id, [7; 300].as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
    drop(database);
    println!("closed after the write: {}", length());

    for _ in 0..2 {
        drop(Database::open(FILE).unwrap());
        println!("opened and closed: {}", length());
    }
}
END
cd "$work"
CARGO_TARGET_DIR="$work/target" nice cargo run -q -j1 > seen
cat seen
cat > expected <<'END'
closed after the write: 352256
opened and closed: 368640
opened and closed: 368640
END
diff expected seen
