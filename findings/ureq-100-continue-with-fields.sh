#!/bin/sh
# ureq 3.5.2 (ureq-proto 0.7.1): an interim "100 Continue" that carries a header field fails the request.
#
# Behaviour: a bare 100 and a 103 with fields are both skipped as they should be, but a 100 with a
#   field, such as Date, ends in Protocol(HeadersWith100). The final answer behind it is never read.
# A good guess: a client that reads 103 with fields reads 100 with fields too. RFC 9110 section 15.2
#   lets any 1xx response have fields.
# Seen:
#   100 bare: 200
#   103 with a field: 200
#   100 with a field: Protocol(HeadersWith100)
# Why it matters to a webhook sender: some servers and proxies put Date, Server, Via or Connection on
#   a 100 that nobody asked for. The receiver has done the work and answered 200, but the sender
#   sees a failure and sends the event again on its whole schedule.
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

/// Posts two bytes to a server that writes `answer`, and says what the client made of it.
fn outcome(answer: &'static str) -> String {
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
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let result = match ureq::post(&url).send("hi") {
        Ok(response) => response.status().as_u16().to_string(),
        Err(ureq::Error::Protocol(error)) => format!("Protocol({error:?})"),
        Err(error) => format!("{error:?}"),
    };
    server.join().unwrap();
    result
}

fn main() {
    println!(
        "100 bare: {}",
        outcome("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    );
    println!(
        "103 with a field: {}",
        outcome("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    );
    println!(
        "100 with a field: {}",
        outcome("HTTP/1.1 100 Continue\r\nDate: Mon, 02 Mar 2026 07:58:00 GMT\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    );
}
END
cd "$work"
CARGO_TARGET_DIR="$work/target" nice cargo run -q -j1 > seen
cat seen
cat > expected <<'END'
100 bare: 200
103 with a field: 200
100 with a field: Protocol(HeadersWith100)
END
diff expected seen
