#!/bin/sh
# ureq 3.5.2 (ureq-proto 0.7.1): a chunk's size line may be 20 bytes long, its extension included.
#
# Behaviour: "2;sig=0123456789abcd" (20 bytes) is read. With one more letter in the extension the body
#   fails with Protocol(ChunkExpectedCrLf), although the line does end in CRLF.
# A good guess: extensions are skipped whatever their length is, up to some limit in kilobytes, as
#   RFC 9112 section 7.1.1 asks ("MUST ignore unrecognized chunk extensions").
# Seen:
#   size line of 20 bytes: ok
#   size line of 21 bytes: Protocol(ChunkExpectedCrLf)
# Why it matters to a webhook sender: proxies that sign chunks, or pad them to hide their length, use
#   extensions. The status 200 has been read by then; a sender that treats a broken body as a broken
#   answer sends an event again that has arrived.
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
ureq-proto = { version = "=0.7.1", default-features = false }
http = "=1.5.0"
httparse = "=1.10.1"
END
cat > "$work/src/main.rs" <<'END'
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

fn outcome(size_line: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut piece = [0; 1024];
            let read = stream.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..read]);
        }
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        write!(stream, "{head}{size_line}\r\nok\r\n0\r\n\r\n").unwrap();
        while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
    });
    let agent = ureq::Agent::new_with_defaults();
    let result = match agent.get(&url).call() {
        Ok(mut response) => match response.body_mut().read_to_string() {
            Ok(body) => body,
            Err(ureq::Error::Protocol(error)) => format!("Protocol({error:?})"),
            Err(error) => format!("{error:?}, {:?}", error.source()),
        },
        Err(error) => format!("no answer: {error:?}"),
    };
    drop(agent);
    server.join().unwrap();
    result
}

fn main() {
    for size_line in ["2;sig=0123456789abcd", "2;sig=0123456789abcde"] {
        println!("size line of {} bytes: {}", size_line.len(), outcome(size_line));
    }
}
END
cd "$work"
CARGO_TARGET_DIR="$work/target" nice cargo run -q -j1 > seen
cat seen
cat > expected <<'END'
size line of 20 bytes: ok
size line of 21 bytes: Protocol(ChunkExpectedCrLf)
END
diff expected seen
