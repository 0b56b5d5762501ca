//! A local webhook receiver for `demo` and `listen`. It responds as configured and passes on each request. Runs on its
//! own threads; the caller checks signatures.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use crate::command::receive::diagnosis::{Cause, Claim, Expected, Fit, Header, Verdict, diagnose};
use crate::domain::Timestamp;
use crate::domain::options::names::Names;

/// Maximum body size; more than the largest configurable event.
const BODY_BYTES: usize = 17 * 1024 * 1024;

/// A received request.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its method.
    pub method: String,
    /// Header names in lower case, and values, in order.
    pub headers: Vec<(String, String)>,
    /// The raw body, which is what is signed.
    pub body: Vec<u8>,
    /// The response.
    pub answer: ReceiverResponse,
}

/// A response to a request.
#[derive(Clone, Debug, Default)]
pub struct ReceiverResponse {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// Why it is not the intended response.
    pub fault: Option<String>,
}

impl ReceiverResponse {
    /// A response with that status. A 200 says a word, as a test ping remarks on an empty one.
    pub fn status(status: u16) -> Self {
        let body = if status == 200 { b"taken\n".to_vec() } else { Vec::new() };
        Self { status, body, fault: None }
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
            answer: ReceiverResponse::default(),
        }
    }

    /// The first value of a header; its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(present, _)| present.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The type of the event; empty if the header is missing.
    pub fn event(&self, names: &Names) -> &str {
        self.header(&names.event).unwrap_or_default()
    }

    /// The attempt, counted from 1; 0 if the header is missing.
    pub fn attempt(&self, names: &Names) -> u32 {
        self.header(&names.attempt).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// Checks its signatures.
    pub fn check(&self, expected: &Expected, now: Timestamp, tolerance: Duration) -> Check {
        let name = &expected.names.signature;
        let tempclock = self.header(name).map(|signature| Header::TempClock { signature });
        let standard = self.header("webhook-signature").map(|signature| Header::Standard {
            id: self.header("webhook-id").unwrap_or_default(),
            timestamp: self.header("webhook-timestamp").unwrap_or_default(),
            signature,
        });
        let mut check = Check::default();
        if tempclock.is_none() && standard.is_none() {
            let own = if name.is_empty() { String::new() } else { format!("{name}, ") };
            check.faults.push(Cause {
                code: "not_signed",
                message: format!("the request has none of the headers {own}webhook-signature").into(),
                fix: "It does not come from the server, or something in between removes headers".into(),
            });
        }
        for header in tempclock.into_iter().chain(standard) {
            match diagnose(&Claim { body: &self.body, header, expected }, now, tolerance) {
                Verdict::Matches(fits) => check.fits.extend(fits),
                Verdict::Explained(causes) | Verdict::Unexplained(causes) => {
                    for cause in causes {
                        if !check.faults.iter().any(|known| known.code == cause.code) {
                            check.faults.push(cause);
                        }
                    }
                }
            }
        }
        check
    }
}

/// What is found out about the signatures of a request. It is genuine if it has no faults.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// The signatures that match.
    pub fits: Vec<Fit>,
    /// Why others do not match, or that there is none.
    pub faults: Vec<Cause>,
}

/// Starts a receiver; `answer` returns the response and may block. Returns the address and a channel of requests.
pub fn start(
    address: SocketAddr,
    answer: impl Fn(&Received) -> ReceiverResponse + Clone + Send + 'static,
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
    answer: impl Fn(&Received) -> ReceiverResponse + Clone + Send + 'static,
) -> std::io::Result<()> {
    let sender = sender.clone();
    let server = HttpServer::new(move || {
        let (sender, answer) = (sender.clone(), answer.clone());
        App::new().app_data(web::PayloadConfig::new(BODY_BYTES)).default_service(web::to(
            move |request: HttpRequest, body: web::Bytes| {
                let mut received = Received::new(&request, &body);
                let (sender, answer) = (sender.clone(), answer.clone());
                async move {
                    // On a blocking thread, which continues if the client disconnects, so that the request is still
                    // reported.
                    let answered = web::block(move || {
                        let given = answer(&received);
                        received.answer = given.clone();
                        // The channel is closed when the program ends.
                        drop(sender.send(received));
                        given
                    });
                    let ReceiverResponse { status, body, .. } =
                        answered.await.unwrap_or_else(|_| ReceiverResponse::status(500));
                    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                    HttpResponse::build(status).body(body)
                }
            },
        ))
    });
    let server = server.workers(1).disable_signals().listen(listener)?.run();
    actix_web::rt::System::new().block_on(server)
}
