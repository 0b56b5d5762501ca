//! A mail server of the test: it takes mail, plain or over TLS, or hangs, or refuses.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::harness::PATIENCE;

/// How the connection is protected.
#[derive(Clone)]
pub enum Protection {
    Plain,
    StartTls(Arc<ServerConfig>),
    Tls(Arc<ServerConfig>),
}

/// How the server behaves.
#[derive(Clone, Copy)]
pub enum Manner {
    /// It takes every mail.
    Takes,
    /// It says nothing at all.
    Hangs,
    /// It answers this to every recipient.
    Refuses(&'static str),
}

/// A mail as it came.
#[derive(Clone, Debug)]
pub struct TakenMail {
    pub to: String,
    /// Decoded from PLAIN, with NUL as a comma.
    pub login: Option<String>,
    pub text: String,
}

#[derive(Default)]
struct State {
    taken: Vec<TakenMail>,
    /// How many connections there were.
    connections: usize,
}

/// A running mail server.
pub struct MailServer {
    port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

impl MailServer {
    pub fn start(protection: Protection, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let kept = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, protection) = (Arc::clone(&kept), protection.clone());
                // A caller that leaves ends its thread.
                thread::spawn(move || serve(&stream, &protection, manner, &shared).err());
            }
        });
        Self { port, shared }
    }

    pub fn url(&self, scheme: &str) -> String {
        format!("\"{scheme}://localhost:{}\"", self.port)
    }

    pub fn taken(&self) -> Vec<TakenMail> {
        self.shared.0.lock().unwrap().taken.clone()
    }

    /// Waits for that many mails.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<TakenMail> {
        self.wait_until("so many mails", |state| state.taken.len() >= count);
        self.taken()
    }

    #[track_caller]
    pub fn wait_for_a_caller(&self) {
        self.wait_until("a caller", |state| state.connections > 0);
    }

    #[track_caller]
    fn wait_until(&self, what: &str, wish: impl Fn(&State) -> bool) {
        let state = self.shared.0.lock().unwrap();
        let (state, _) = self.shared.1.wait_timeout_while(state, PATIENCE, |state| !wish(state)).unwrap();
        assert!(wish(&state), "never came: {what}; there are {:?}", state.taken);
    }
}

fn serve(
    stream: &TcpStream,
    protection: &Protection,
    manner: Manner,
    shared: &(Mutex<State>, Condvar),
) -> std::io::Result<()> {
    shared.0.lock().unwrap().connections += 1;
    shared.1.notify_all();
    if let Manner::Hangs = manner {
        return std::io::copy(&mut { stream }, &mut std::io::sink()).map(drop);
    }
    let plain = stream.try_clone()?;
    let over_tls = |config: &Arc<ServerConfig>| -> Box<dyn Wire> {
        Box::new(StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream.try_clone().unwrap()))
    };
    let wire: Box<dyn Wire> = match protection {
        Protection::Tls(config) => over_tls(config),
        _ => Box::new(plain),
    };
    let mut lines = BufReader::new(wire);
    let mut taken = TakenMail { to: String::new(), login: None, text: String::new() };
    let mut is_protected = !matches!(protection, Protection::StartTls(_));
    say(&mut lines, "220 mail.test ESMTP")?;
    loop {
        let line = line(&mut lines)?;
        let word = line.split_whitespace().next().unwrap_or_default().to_uppercase();
        match word.as_str() {
            "EHLO" if is_protected => say(&mut lines, "250-mail.test\r\n250 AUTH PLAIN LOGIN")?,
            "EHLO" => say(&mut lines, "250-mail.test\r\n250 STARTTLS")?,
            "STARTTLS" => {
                say(&mut lines, "220 go on")?;
                if let Protection::StartTls(config) = protection {
                    lines = BufReader::new(over_tls(config));
                    is_protected = true;
                }
            }
            "AUTH" => {
                use base64::Engine as _;
                let encoded = line.split_whitespace().nth(2).unwrap_or_default();
                let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
                taken.login = Some(String::from_utf8(decoded).unwrap().replace('\0', ","));
                say(&mut lines, "235 welcome")?;
            }
            "RCPT" => {
                if let Manner::Refuses(answer) = manner {
                    say(&mut lines, answer)?;
                } else {
                    taken.to = line;
                    say(&mut lines, "250 ok")?;
                }
            }
            "DATA" => {
                say(&mut lines, "354 go on")?;
                taken.text.clear();
                loop {
                    let line = self::line(&mut lines)?;
                    if line == "." {
                        break;
                    }
                    taken.text.push_str(&line);
                    taken.text.push('\n');
                }
                // Long lines are broken as quoted-printable has it.
                taken.text = taken.text.replace("=\n", "");
                shared.0.lock().unwrap().taken.push(taken.clone());
                shared.1.notify_all();
                say(&mut lines, "250 taken")?;
            }
            "QUIT" => return say(&mut lines, "221 bye"),
            _ => say(&mut lines, "250 ok")?,
        }
    }
}

fn say(lines: &mut BufReader<Box<dyn Wire>>, text: &str) -> std::io::Result<()> {
    let wire = lines.get_mut();
    wire.write_all(format!("{text}\r\n").as_bytes())?;
    wire.flush()
}

fn line(lines: &mut BufReader<Box<dyn Wire>>) -> std::io::Result<String> {
    let mut line = String::new();
    if lines.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
