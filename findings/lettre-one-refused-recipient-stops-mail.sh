#!/bin/sh
# lettre 0.11.23: if a mail server refuses one of several recipients, nobody gets the mail.
#
# Behaviour: after the first RCPT that is answered 550 the client sends QUIT. The recipients that were
#   accepted before it get nothing, and those behind it are not even offered.
# A good guess: the mail goes to those whom the server accepted, since SMTP answers each recipient apart,
#   and the error names the rest. Python's smtplib does that.
# Seen, for three recipients of whom the second is unknown:
#   result: permanent 550
#   commands: EHLO, MAIL, RCPT anna, RCPT gone, QUIT
#   mails taken: 0
# Why it matters to a webhook sender: an alert about a failing endpoint goes to a list of people. One who
#   left the company silences it for all, and as the error is permanent it is not sent again.
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
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

/// Speaks SMTP for one connection and returns the commands seen and the mails taken.
fn serve(listener: TcpListener) -> (Vec<String>, usize) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let (mut commands, mut mails) = (Vec::new(), 0);
    stream.write_all(b"220 ready\r\n").unwrap();
    while let Some(Ok(line)) = lines.next() {
        let mut answer = "250 ok";
        if let Some(rest) = line.strip_prefix("RCPT TO:<") {
            let name = rest.split('@').next().unwrap();
            commands.push(format!("RCPT {name}"));
            if name == "gone" {
                answer = "550 no such user";
            }
        } else {
            commands.push(line[..4].to_owned());
        }
        if line == "DATA" {
            write!(stream, "354 go on\r\n").unwrap();
            while lines.next().unwrap().unwrap() != "." {}
            mails += 1;
        }
        write!(stream, "{answer}\r\n").unwrap();
        if line == "QUIT" {
            break;
        }
    }
    (commands, mails)
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || serve(listener));

    let sender = "sender@example.com".parse().unwrap();
    let recipients = ["anna@example.com", "gone@example.com", "ben@example.com"];
    let recipients = recipients.map(|address| address.parse().unwrap()).to_vec();
    let envelope = Envelope::new(Some(sender), recipients).unwrap();
    let transport = SmtpTransport::builder_dangerous("127.0.0.1").port(port).build();
    match transport.send_raw(&envelope, b"Subject: alert\r\n\r\nfailing\r\n") {
        Ok(_) => println!("result: sent"),
        Err(error) => println!(
            "result: {} {}",
            if error.is_permanent() { "permanent" } else { "not permanent" },
            error.status().unwrap()
        ),
    }
    drop(transport);
    let (commands, mails) = server.join().unwrap();
    println!("commands: {}", commands.join(", "));
    println!("mails taken: {mails}");
}
END
cd "$work"
CARGO_TARGET_DIR="$work/target" nice cargo run -q -j1 > seen
cat seen
cat > expected <<'END'
result: permanent 550
commands: EHLO, MAIL, RCPT anna, RCPT gone, QUIT
mails taken: 0
END
diff expected seen
