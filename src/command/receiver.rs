//! A receiver of webhooks on this machine, for `demo` and `listen`. It answers every request as it is told to and hands
//! over what came. Runs on threads of its own; whether a request is genuine is asked by whoever knows the secret.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use crate::domain::Timestamp;
use crate::domain::diagnosis::{Cause, Claim, Header, Verdict, diagnose};

/// More than the largest event that can be configured.
const BODY_BYTES: usize = 17 * 1024 * 1024;

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its method.
    pub method: String,
    /// Names, in lower case, and values, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body's bytes; what is signed is exactly these.
    pub body: Vec<u8>,
    /// What it is answered with.
    pub answer: Answer,
}

/// What a request is answered with.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// Why it is not the answer that was wanted.
    pub fault: Option<String>,
}

impl Answer {
    /// An answer without a body.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

impl Received {
    fn new(request: &HttpRequest, body: &[u8]) -> Self {
        let headers = request.headers().iter();
        Self {
            method: request.method().to_string(),
            headers: headers
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            body: body.to_vec(),
            answer: Answer::default(),
        }
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(present, _)| present == name).map(|(_, value)| value.as_str())
    }

    /// `X-TempClock-Event`; empty if it is missing.
    pub fn event(&self) -> &str {
        self.header("x-tempclock-event").unwrap_or_default()
    }

    /// `X-TempClock-Attempt`, from 1 on; 0 if it is missing.
    pub fn attempt(&self) -> u32 {
        self.header("x-tempclock-attempt").and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// Why its signatures do not fit; empty if all that it has do, and it has one.
    pub fn faults(&self, secret: &str, now: Timestamp, tolerance: Duration) -> Vec<Cause> {
        let tempclock = self.header("x-tempclock-signature").map(|signature| Header::TempClock { signature });
        let standard = self.header("webhook-signature").map(|signature| Header::Standard {
            id: self.header("webhook-id").unwrap_or_default(),
            timestamp: self.header("webhook-timestamp").unwrap_or_default(),
            signature,
        });
        if tempclock.is_none() && standard.is_none() {
            return vec![Cause {
                code: "not_signed",
                message: "the request has neither X-TempClock-Signature nor webhook-signature".into(),
                fix: "It does not come from the server, or something on the way takes headers out".into(),
            }];
        }
        let mut faults: Vec<Cause> = Vec::new();
        for header in tempclock.into_iter().chain(standard) {
            let verdict = diagnose(&Claim { body: &self.body, secret, header }, now, tolerance);
            let (Verdict::Explained(causes) | Verdict::Unexplained(causes)) = verdict else { continue };
            for cause in causes {
                if !faults.iter().any(|known| known.code == cause.code) {
                    faults.push(cause);
                }
            }
        }
        faults
    }
}

/// Starts a receiver; `answer` says what to answer and may take its time. Gives the address and what comes.
pub fn start(
    address: SocketAddr,
    answer: impl Fn(&Received) -> Answer + Clone + Send + 'static,
) -> std::io::Result<(SocketAddr, Receiver<Received>)> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let (sender, received) = channel();
    std::thread::Builder::new().name("receiver".to_owned()).spawn(move || serve(listener, &sender, answer))?;
    Ok((address, received))
}

fn serve(
    listener: TcpListener,
    sender: &Sender<Received>,
    answer: impl Fn(&Received) -> Answer + Clone + Send + 'static,
) -> std::io::Result<()> {
    let sender = sender.clone();
    let server = HttpServer::new(move || {
        let (sender, answer) = (sender.clone(), answer.clone());
        App::new().app_data(web::PayloadConfig::new(BODY_BYTES)).default_service(web::to(
            move |request: HttpRequest, body: web::Bytes| {
                let mut received = Received::new(&request, &body);
                let (sender, answer) = (sender.clone(), answer.clone());
                async move {
                    // On a thread that goes on when the other side gives up waiting, so that it is still told.
                    let answered = web::block(move || {
                        let given = answer(&received);
                        received.answer = given.clone();
                        // Nobody listens any more when the program ends.
                        drop(sender.send(received));
                        given
                    });
                    let Answer { status, body, .. } = answered.await.unwrap_or_else(|_| Answer::status(500));
                    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                    HttpResponse::build(status).body(body)
                }
            },
        ))
    });
    let server = server.workers(1).disable_signals().listen(listener)?.run();
    actix_web::rt::System::new().block_on(server)
}
