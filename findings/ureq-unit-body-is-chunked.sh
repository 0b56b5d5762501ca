#!/bin/sh
# ureq 3.5.2: a POST whose body is `()` is sent as an empty chunked body, without a length.
#
# Behaviour: `agent.run(request)` with a `http::Request<()>` of method POST sends
#   Transfer-Encoding: chunked; `send_empty()` of the request builder sends Content-Length: 0.
# A good guess: both say that there is no body, so both send the same, and `()` sends none.
# Seen:
#   body(()): transfer-encoding: chunked
#   send_empty(): content-length: 0
# Why it matters to an HTTP API: a chunked request without a type may be empty. Whoever refuses bodies
#   without Content-Type has to read it first, or refuses a call that has nothing to say.
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
ureq = { version = "=3.5.2", default-features = false }
http = "=1.5.0"
END
cat > "$work/src/main.rs" <<'END'
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

/// The header line that says how long the body is.
fn framing(send: impl FnOnce(&str)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        while !request.contains("\r\n\r\n") {
            let mut piece = [0; 1024];
            let read = stream.read(&mut piece).unwrap();
            request.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
        let lines = request.to_ascii_lowercase();
        let framing = |line: &&str| line.starts_with("transfer-encoding") || line.starts_with("content-length");
        lines.lines().find(framing).unwrap_or("none").to_owned()
    });
    send(&url);
    server.join().unwrap()
}

fn main() {
    let agent = ureq::Agent::new_with_defaults();
    let unit = framing(|url| drop(agent.run(http::Request::post(url).body(()).unwrap())));
    println!("body(()): {unit}");
    println!("send_empty(): {}", framing(|url| drop(agent.post(url).send_empty())));
}
END
cd "$work"
CARGO_TARGET_DIR="$work/target" nice cargo run -q -j1 > seen
cat seen
cat > expected <<'END'
body(()): transfer-encoding: chunked
send_empty(): content-length: 0
END
diff expected seen
