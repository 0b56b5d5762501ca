//! A receiver of webhooks on this machine, for the demo. It answers every POST with the code that it is told to and
//! hands over what came. Runs on a thread of its own; it checks nothing, which is left to whoever knows the secret.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use crate::domain::EventId;
use crate::domain::signing::SigningSecret;

/// More than the largest event that can be configured.
const BODY_BYTES: usize = 17 * 1024 * 1024;

/// One request, as it came.
#[derive(Debug)]
pub struct Received {
    /// `X-TempClock-Event`.
    pub event: String,
    /// `X-TempClock-Attempt`, from 1 on.
    pub attempt: u32,
    /// The body's bytes; what is signed is exactly these.
    pub body: Vec<u8>,
    /// What it is answered with.
    pub answer: u16,
    tempclock_signature: String,
    standard_signature: String,
    id: Option<EventId>,
    timestamp_s: u64,
}

impl Received {
    /// Do both signatures fit body and secret?
    pub fn is_genuine(&self, secret: &SigningSecret) -> bool {
        let Some(id) = self.id else { return false };
        let wanted = secret.sign(id, self.timestamp_s, &self.body);
        let same = |given: &str, wanted: String| subtle::ConstantTimeEq::ct_eq(given.as_bytes(), wanted.as_bytes());
        bool::from(
            same(&self.tempclock_signature, wanted.tempclock_header())
                & same(&self.standard_signature, wanted.standard_header()),
        )
    }

    fn new(request: &HttpRequest, body: &[u8]) -> Self {
        let header = |name: &str| {
            let value = request.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        Self {
            event: header("x-tempclock-event"),
            attempt: header("x-tempclock-attempt").parse().unwrap_or_default(),
            body: body.to_vec(),
            answer: 0,
            tempclock_signature: header("x-tempclock-signature"),
            standard_signature: header("webhook-signature"),
            id: EventId::parse(&header("webhook-id")),
            timestamp_s: header("webhook-timestamp").parse().unwrap_or_default(),
        }
    }
}

/// Starts a receiver on a free loopback port; `answer` chooses the response code. Gives its address and what comes.
pub fn start(
    answer: impl Fn(&Received) -> u16 + Clone + Send + 'static,
) -> std::io::Result<(SocketAddr, Receiver<Received>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let (sender, received) = channel();
    std::thread::Builder::new().name("receiver".to_owned()).spawn(move || serve(listener, &sender, answer))?;
    Ok((address, received))
}

fn serve(
    listener: TcpListener,
    sender: &Sender<Received>,
    answer: impl Fn(&Received) -> u16 + Clone + Send + 'static,
) -> std::io::Result<()> {
    let sender = sender.clone();
    let server = HttpServer::new(move || {
        let (sender, answer) = (sender.clone(), answer.clone());
        App::new().app_data(web::PayloadConfig::new(BODY_BYTES)).default_service(web::to(
            move |request: HttpRequest, body: web::Bytes| {
                let mut received = Received::new(&request, &body);
                received.answer = answer(&received);
                let status = StatusCode::from_u16(received.answer).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                // Nobody listens any more when the program ends.
                drop(sender.send(received));
                std::future::ready(HttpResponse::build(status).finish())
            },
        ))
    });
    let server = server.workers(1).disable_signals().listen(listener)?.run();
    actix_web::rt::System::new().block_on(server)
}
