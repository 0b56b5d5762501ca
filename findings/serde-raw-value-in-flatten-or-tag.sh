#!/bin/sh
# serde 1.0.229, serde_json 1.0.154: RawValue compiles inside a flattened or tagged type and fails on every input.
#
# Behaviour: a `Box<RawValue>` field of a plain struct keeps the bytes of the JSON. Move the field into
#   a struct that is used with #[serde(flatten)], or into an enum with #[serde(tag = "...")], and the
#   program still compiles, but from_str() refuses any document.
# A good guess: both attributes change the layout of the JSON alone, or the compiler says no. In fact
#   serde reads such types into a buffer of its own first, which cannot hold raw JSON.
# Seen:
#   plain: {"hours": 1.10}
#   flattened: invalid type: newtype struct, expected any valid JSON value
#   tagged: invalid type: newtype struct, expected any valid JSON value
# Why it matters to a webhook sender: it must pass a publisher's payload on byte for byte, since the
#   signature covers bytes. An event type as the tag and the payload as raw JSON is the obvious shape
#   for it, and tidying the fields into a flattened struct the obvious clean-up.
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
serde = { version = "=1.0.229", features = ["derive"] }
serde_json = { version = "=1.0.154", features = ["raw_value"] }
END
cat > "$work/src/main.rs" <<'END'
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Payload {
    data: Box<RawValue>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(flatten)]
    payload: Payload,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Tagged {
    ShiftEnded { data: Box<RawValue> },
}

fn say(what: &str, result: Result<Box<RawValue>, serde_json::Error>) {
    match result {
        Ok(data) => println!("{what}: {data}"),
        // Without the position in the text.
        Err(error) => println!("{what}: {}", error.to_string().split(" at line").next().unwrap()),
    }
}

fn main() {
    let text = r#"{"type": "shift_ended", "data": {"hours": 1.10}}"#;
    say("plain", serde_json::from_str(text).map(|Payload { data }| data));
    say("flattened", serde_json::from_str(text).map(|event: Event| event.payload.data));
    say("tagged", serde_json::from_str(text).map(|Tagged::ShiftEnded { data }| data));
}
END
cd "$work"
CARGO_TARGET_DIR="$work/target" nice cargo run -q -j1 > seen
cat seen
cat > expected <<'END'
plain: {"hours": 1.10}
flattened: invalid type: newtype struct, expected any valid JSON value
tagged: invalid type: newtype struct, expected any valid JSON value
END
diff expected seen
