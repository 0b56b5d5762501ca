#!/bin/sh
# prometheus-client 0.25.2 (Rust): a counter's name and help text are not written as they were registered.
#
# Behaviour: the encoder appends "_total" to the name of a counter, also where it ends in "_total"
#   already, and a full stop to every help text, also where it ends in one.
# A good guess: the text that was registered is the text that is served; the client libraries of other
#   languages take "requests_total" and leave the help text alone.
# Seen, for register("requests_total", "Number of requests."):
#   # HELP requests_total Number of requests..
#   # TYPE requests_total counter
#   requests_total_total 0
#   # EOF
# Why it matters to a webhook sender: alerts and dashboards are written against the names in the code.
#   An alert on deliveries_failed_total never fires when the page says deliveries_failed_total_total,
#   and a metric that does not exist is no error for the one who queries it.
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
prometheus-client = "=0.25.2"
prometheus-client-derive-encode = "=0.5.1"
END
cat > "$work/src/main.rs" <<'END'
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

fn main() {
    let mut registry = Registry::default();
    let requests: Counter = Counter::default();
    registry.register("requests_total", "Number of requests.", requests);
    let mut page = String::new();
    encode(&mut page, &registry).unwrap();
    print!("{page}");
}
END
cd "$work"
CARGO_TARGET_DIR="$work/target" nice cargo run -q -j1 > seen
cat seen
cat > expected <<'END'
# HELP requests_total Number of requests..
# TYPE requests_total counter
requests_total_total 0
# EOF
END
diff expected seen
