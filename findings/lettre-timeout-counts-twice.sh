#!/bin/sh
# lettre 0.11.23: a send that runs into its timeout takes twice the timeout, and is_timeout() is false.
#
# Behaviour: `timeout` limits each read. When an answer does not come in time, the client sends QUIT and
#   waits for the answer to that as well, for the same time again. The error that it returns then is of
#   kind Network with the system's WouldBlock inside; is_timeout() says false, as do is_transient(),
#   is_permanent() and is_client().
# A good guess: a timeout of one second ends the send after one second, with an error for which
#   is_timeout() is true.
# Seen, with a server that greets and then needs longer than a timeout of 1 s for MAIL:
#   took two timeouts: true
#   is_timeout: false
#   cause: WouldBlock
# Why it matters to a webhook sender: alerts by mail go out beside deliveries. A thread that has reserved
#   the timeout for a mail is late by as much again, and code that asks is_timeout() to decide on a
#   repeat never repeats.
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
email_address = "=0.2.10"
nom = "=8.0.0"
socket2 = "=0.6.5"

[dependencies.lettre]
version = "=0.11.23"
default-features = false
features = ["smtp-transport", "builder"]
END
cat > "$work/src/main.rs" <<'END'
use lettre::address::Envelope;
use lettre::{SmtpTransport, Transport};
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(1);

/// Greets, and leaves all commands behind EHLO without an answer until the client has closed.
fn serve(listener: TcpListener) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"220 ready\r\n").unwrap();
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        if line.starts_with("EHLO") {
            stream.write_all(b"250 ok\r\n").unwrap();
        }
    }
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || serve(listener));

    let sender = "sender@example.com".parse().unwrap();
    let recipients = vec!["anna@example.com".parse().unwrap()];
    let envelope = Envelope::new(Some(sender), recipients).unwrap();
    let transport =
        SmtpTransport::builder_dangerous("127.0.0.1").port(port).timeout(Some(TIMEOUT)).build();
    let start = Instant::now();
    let error = transport.send_raw(&envelope, b"Subject: alert\r\n\r\nfailing\r\n").unwrap_err();
    let took = start.elapsed();
    // A timer of the system may end a little early.
    let two = 2 * TIMEOUT - Duration::from_millis(100);
    println!("took two timeouts: {}", took >= two);
    println!("is_timeout: {}", error.is_timeout());
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    println!("cause: {:?}", cause.unwrap().kind());
    drop(transport);
    server.join().unwrap();
}
END
cd "$work"
CARGO_TARGET_DIR="$work/target" nice cargo run -q -j1 > seen
cat seen
cat > expected <<'END'
took two timeouts: true
is_timeout: false
cause: WouldBlock
END
diff expected seen
