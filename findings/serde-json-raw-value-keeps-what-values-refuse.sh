#!/bin/sh
# serde_json 1.0.154 (Rust): RawValue and IgnoredAny accept JSON texts that Value refuses.
#
# Behaviour: a number beyond the range of f64 is JSON by the grammar of RFC 8259, and so are 200 arrays in
#   each other. Value refuses both, the second at its limit of 128 levels. RawValue keeps them and
#   IgnoredAny skips them without an error, wherever in a text they are; there is no limit of levels.
# A good guess: what one type of a parser has accepted, the other types of the same parser accept.
# Seen:
#   number: Value no, RawValue yes, IgnoredAny yes
#   number in an array: Value no, RawValue yes, IgnoredAny yes
#   100 levels: Value yes, RawValue yes, IgnoredAny yes
#   200 levels: Value no, RawValue yes, IgnoredAny yes
# Why it matters to a webhook sender: payloads are passed on byte for byte as RawValue. What was accepted
#   from a publisher in this way is delivered to receivers whose parsers refuse it, at every retry, so
#   both have to be looked for before an event is acknowledged.
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
serde = "=1.0.229"
serde_json = { version = "=1.0.154", features = ["raw_value"] }
END
cat > "$work/src/main.rs" <<'END'
use serde::de::IgnoredAny;
use serde_json::{Value, from_str, value::RawValue};

fn main() {
    let levels = |count: usize| format!("{}{}", "[".repeat(count), "]".repeat(count));
    for (name, text) in [
        ("number", "1e400".to_owned()),
        ("number in an array", r#"[{"a": 1e400}]"#.to_owned()),
        ("100 levels", levels(100)),
        ("200 levels", levels(200)),
    ] {
        let said = |is_ok: bool| if is_ok { "yes" } else { "no" };
        let value = said(from_str::<Value>(&text).is_ok());
        let raw = said(from_str::<&RawValue>(&text).is_ok());
        let ignored = said(from_str::<IgnoredAny>(&text).is_ok());
        println!("{name}: Value {value}, RawValue {raw}, IgnoredAny {ignored}");
    }
}
END
cd "$work"
CARGO_TARGET_DIR="$work/target" nice cargo run -q -j1 > seen
cat seen
cat > expected <<'END'
number: Value no, RawValue yes, IgnoredAny yes
number in an array: Value no, RawValue yes, IgnoredAny yes
100 levels: Value yes, RawValue yes, IgnoredAny yes
200 levels: Value no, RawValue yes, IgnoredAny yes
END
diff expected seen
