#!/bin/sh
# bytesize 2.7.0 (Rust): a size that does not fit is no error with a unit, but is one without.
#
# Behaviour: "20 EiB" is parsed as 18446744073709551615 bytes, the largest number of 64 bits, in silence.
#   The same size written as a plain number of bytes is an error. A fraction is cut: "1.9 B" is 1 byte.
# A good guess: a size that cannot be held is an error in either spelling, as with the integers of the
#   standard library.
# Seen:
#   15 EiB: 17293822569102704640
#   20 EiB: 18446744073709551615
#   23058430092136939520: error
#   1.9 B: 1
# Why it matters to a webhook sender: limits on bodies, queues and disks are read from a configuration
#   file in this form. A slip in the unit turns a limit into none, and the start-up check that
#   relies on a parse error says nothing; ranges have to be checked after the parse.
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
bytesize = "=2.7.0"
END
cat > "$work/src/main.rs" <<'END'
use bytesize::ByteSize;

fn main() {
    for text in ["15 EiB", "20 EiB", "23058430092136939520", "1.9 B"] {
        match text.parse::<ByteSize>() {
            Ok(size) => println!("{text}: {}", size.as_u64()),
            Err(_) => println!("{text}: error"),
        }
    }
}
END
cd "$work"
CARGO_TARGET_DIR="$work/target" nice cargo run -q -j1 > seen
cat seen
cat > expected <<'END'
15 EiB: 17293822569102704640
20 EiB: 18446744073709551615
23058430092136939520: error
1.9 B: 1
END
diff expected seen
