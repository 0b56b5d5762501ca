#!/bin/sh
# ureq 3.5.2 (ureq-proto 0.7.1): after an interim answer, max_response_header_size also counts the body.
#
# Behaviour: with a header limit of 16 KiB, an answer with a head of 46 bytes and a body of 17,000
#   bytes is read. The same answer behind a "103 Early Hints" of 28 bytes, all in one write, fails with
#   LargeResponseHeader: the client compares everything that lies in its input buffer with the limit.
# A good guess: a limit on the size of the header does not depend on the length of the body.
# Seen:
#   17000 bytes: 200, 17000
#   103, 10000 bytes: 200, 10000
#   103, 17000 bytes: LargeResponseHeader, more than 17000 against 16384
# Why it matters to a webhook sender: a small header limit is a sensible guard against hostile
#   receivers. A receiver behind a proxy that sends 103 then fails as soon as its answer is long, and
#   the error sends its owner looking for large headers that are not there.
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
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

const HEADER_LIMIT: usize = 16 * 1024;

fn outcome(interim: &'static str, length: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\nhi") {
            let mut piece = [0; 1024];
            let read = stream.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..read]);
        }
        let body = "x".repeat(length);
        let answer = format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).unwrap();
        // Wait until the client has closed, so that unread bytes cause no reset.
        while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
    });
    let agent: ureq::Agent =
        ureq::Agent::config_builder().max_response_header_size(HEADER_LIMIT).build().into();
    let result = match agent.post(&url).send("hi") {
        Ok(mut response) => {
            let body = response.body_mut().read_to_vec().unwrap();
            format!("{}, {}", response.status().as_u16(), body.len())
        }
        Err(ureq::Error::LargeResponseHeader(size, limit)) if size > length => {
            format!("LargeResponseHeader, more than {length} against {limit}")
        }
        Err(error) => format!("{error:?}"),
    };
    drop(agent);
    server.join().unwrap();
    result
}

fn main() {
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
    println!("17000 bytes: {}", outcome("", 17_000));
    println!("103, 10000 bytes: {}", outcome(interim, 10_000));
    println!("103, 17000 bytes: {}", outcome(interim, 17_000));
}
END
cd "$work"
CARGO_TARGET_DIR="$work/target" nice cargo run -q -j1 > seen
cat seen
cat > expected <<'END'
17000 bytes: 200, 17000
103, 10000 bytes: 200, 10000
103, 17000 bytes: LargeResponseHeader, more than 17000 against 16384
END
diff expected seen
