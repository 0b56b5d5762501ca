//! `listen`: a local receiver that checks the signature of every request. With an API key it subscribes itself while it
//! runs. The main thread prints; the receiver's threads respond.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Map, Value, json};
use ureq::Agent;
use zeroize::Zeroizing;

use crate::cli::ListenArgs;
use crate::clock::Clock;
use crate::command::client::http_api::{self, HttpApi, HttpApiError};
use crate::command::console::output::say;
use crate::command::console::terminal::{self, Paint, Tone};
use crate::command::manage::subscription_options;
use crate::command::receive::diagnosis::{Cause, Expected};
use crate::command::receive::known;
use crate::command::receive::receiver::{self, Check, Received, ReceiverResponse};
use crate::command::server::log_output;
use crate::command::server::serve::{self, End};
use crate::command::{Exit, Outcome, config};
use crate::domain::Timestamp;
use crate::domain::escape::escape_controls;
use crate::domain::signing_keys::Ed25519PublicKey;

/// Time limit for responses of the server and of the forward target.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// As in the Standard Webhooks libraries.
const TOLERANCE: Duration = Duration::from_mins(5);
/// Maximum size of a forwarded response.
const ANSWER_BYTES: u64 = 64 * 1024;
/// Hop-by-hop headers.
const OF_THE_CONNECTION: [&str; 6] = ["host", "connection", "content-length", "transfer-encoding", "expect", "upgrade"];

pub fn run(args: ListenArgs) -> Outcome {
    log_output::warnings_only();
    let failed = |error: &dyn std::fmt::Display| (Exit::Failed, error.to_string());
    let usage = |message: &str| (Exit::Usage, message.to_owned());
    let config = config::load(&args.config, Vec::new())?.config;
    let agent = http_api::agent(&config, REQUEST_TIMEOUT)?;
    let api = http_api::key(&args.api)?.map(|key| HttpApi::new(http_api::url(&args.api, &config), key, agent.clone()));
    let given = known::secrets(&args.secret)?;
    if api.is_some() && given.len() > 1 {
        return Err(usage("with an API key, pass at most one secret: that of the subscription that listen creates"));
    }
    let fields = subscription_options::fields(&args.options)?;
    if let Some(name) = fields.keys().find(|name| api.is_none() && *name != "names") {
        let flag = name.replace('_', "-");
        return Err(usage(&format!("--{flag} is for the subscription that listen creates with an API key; omit it")));
    }
    let names = known::options(&fields)?.names;
    let expected: Arc<OnceLock<Expected>> = Arc::default();
    let forward = args.forward_to.map(|url| Forward { agent, url, expected: Arc::clone(&expected) });
    let responder = Responder { status: args.status, delay: args.delay, forward };
    let (address, received) = receiver::start(args.listen, move |request| responder.answer(request))
        .map_err(|error| failed(&cannot_listen(args.listen, &error)))?;
    let (ends, end) = channel();
    serve::watch_signals(ends, || {});

    if address.ip().is_unspecified() && args.url.is_none() && api.is_some() {
        let message = format!("nobody can send to {address}: pass the URL at which the server reaches it with --url");
        return Err(usage(&message));
    }
    let url = args.url.unwrap_or_else(|| format!("http://{address}/"));
    let registration =
        api.as_ref().map(|api| Registration::make(api, &url, &args.events, given.first(), fields)).transpose()?;
    let public_key = known::public_key(args.public_key.as_deref())?;
    let expected = expected.get_or_init(|| match &registration {
        Some(Registration { secret, public_key, .. }) => {
            Expected { secrets: vec![secret.clone()], public_key: public_key.clone(), names }
        }
        None => Expected { secrets: given, public_key, names },
    });
    let id = registration.as_ref().map(|registration| registration.id.clone());
    let printer = Printer { expected: expected.clone(), is_json: args.json, paint: Paint::for_stdout() };
    let ended = printer.run(&url, id.as_ref(), &received, &end);
    // However it ended, remove the subscription, so that nothing more is sent here.
    let removed = registration.map_or(Ok(()), Registration::remove);
    match ended {
        // The reader has closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => removed,
        Err(error) => removed.and(Err(failed(&error))),
        Ok(()) => removed,
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "; another program listens there. Choose another --listen; port 0 uses a free port",
        _ => "",
    };
    format!("cannot listen on {address}: {error}{advice}")
}

/// Responds to requests.
#[derive(Clone)]
struct Responder {
    status: u16,
    delay: Option<Duration>,
    forward: Option<Forward>,
}

/// Forwards requests with a valid signature.
#[derive(Clone)]
struct Forward {
    agent: Agent,
    url: String,
    /// Set as soon as the signing secret is known.
    expected: Arc<OnceLock<Expected>>,
}

impl Responder {
    fn answer(&self, request: &Received) -> ReceiverResponse {
        if let Some(delay) = self.delay {
            std::thread::sleep(delay);
        }
        let Some(Forward { agent, url, expected }) = &self.forward else {
            return ReceiverResponse::status(self.status);
        };
        let refuse =
            |status, fault: String| ReceiverResponse { status, body: fault.clone().into_bytes(), fault: Some(fault) };
        if !request.check(expected.wait(), Clock::start().wall(), TOLERANCE).faults.is_empty() {
            return refuse(401, format!("its signature is invalid, so it was not forwarded to {url}"));
        }
        pass_on(agent, url, request).unwrap_or_else(|error| refuse(502, format!("{url} did not respond: {error}")))
    }
}

fn pass_on(agent: &Agent, url: &str, request: &Received) -> Result<ReceiverResponse, ureq::Error> {
    let mut copy = ureq::http::Request::builder().method(request.method.as_str()).uri(url);
    for (name, value) in &request.headers {
        if !OF_THE_CONNECTION.contains(&name.as_str()) {
            copy = copy.header(name, value);
        }
    }
    let mut response = agent.run(copy.body(request.body.as_slice())?)?;
    let body = io::Read::take(response.body_mut().as_reader(), ANSWER_BYTES);
    let mut kept = Vec::new();
    io::Read::read_to_end(&mut io::BufReader::new(body), &mut kept)?;
    Ok(ReceiverResponse { status: response.status().as_u16(), body: kept, fault: None })
}

/// A subscription that exists while the command runs.
struct Registration<'a> {
    api: &'a HttpApi,
    id: Value,
    secret: Zeroizing<String>,
    public_key: Option<Ed25519PublicKey>,
}

impl<'a> Registration<'a> {
    fn make(
        api: &'a HttpApi,
        url: &str,
        events: &[String],
        given: Option<&Zeroizing<String>>,
        options: Map<String, Value>,
    ) -> Result<Self, (Exit, String)> {
        let mut wish = options;
        wish.insert("url".to_owned(), url.into());
        wish.insert("events".to_owned(), events.into());
        wish.insert("description".to_owned(), "tempclock-webhooks listen, temporary".into());
        if let Some(secret) = given {
            wish.insert("secret".to_owned(), secret.as_str().into());
        }
        let wish = wish.into();
        let created = api.call("POST", "/webhooks", Some(&wish)).map_err(|error| {
            let advice = advice(&error).map(|advice| format!("\n{advice}")).unwrap_or_default();
            (Exit::Failed, format!("no subscription was created: {}{advice}", escape_controls(&error.to_string())))
        })?;
        let made = created["data"]["secret"].as_str().map(|secret| Zeroizing::new(secret.to_owned()));
        let secret = given.cloned().or(made);
        let secret = secret.ok_or_else(|| (Exit::Failed, "the server returned no signing secret".to_owned()))?;
        let public_key = created["data"]["public_key"].as_str().and_then(Ed25519PublicKey::parse);
        Ok(Self { api, id: created["data"]["id"].clone(), secret, public_key })
    }

    fn remove(self) -> Outcome {
        match self.api.call("DELETE", &format!("/webhooks/{}", self.id), None) {
            Ok(_) | Err(HttpApiError::ErrorStatus { status: 404, .. }) => {
                say(&format!("Subscription {} deleted.", self.id));
                Ok(())
            }
            Err(error) => Err((
                Exit::Failed,
                format!(
                    "subscription {} could not be deleted: {}\nDelete it on the server with: tempclock-webhooks subscriptions delete {0}",
                    self.id,
                    escape_controls(&error.to_string())
                ),
            )),
        }
    }
}

/// Advice for a failed subscription, if the cause is clear.
fn advice(error: &HttpApiError) -> Option<&'static str> {
    match error {
        HttpApiError::Unreachable { .. } => Some("Start the server, or pass its URL with --api-url"),
        HttpApiError::ErrorStatus { status: 400, field: Some(field), .. } if field == "url" => Some(
            "The server must be allowed to send to this machine: set delivery.allow_http = true and \
             delivery.allow_networks = [\"127.0.0.0/8\"] in its configuration, or pass a URL that it may use with --url",
        ),
        HttpApiError::ErrorStatus { status: 401, .. } => {
            Some("Run tempclock-webhooks keys list to list keys, and keys create to create one")
        }
        HttpApiError::ErrorStatus { status: 403, .. } => {
            Some("Create a key with that scope: tempclock-webhooks keys create --name listen --scopes webhooks:write")
        }
        HttpApiError::ErrorStatus { .. } => None,
    }
}

struct Printer {
    expected: Expected,
    is_json: bool,
    paint: Paint,
}

impl Printer {
    /// Prints requests until asked to stop.
    fn run(&self, url: &str, id: Option<&Value>, received: &Receiver<Received>, end: &Receiver<End>) -> io::Result<()> {
        let mut out = io::stdout();
        self.begin(&mut out, url, id)?;
        loop {
            match received.recv_timeout(Duration::from_millis(100)) {
                Ok(request) => self.print(&mut out, &request)?,
                Err(RecvTimeoutError::Timeout) if end.try_recv().is_err() => {}
                Err(_) => return Ok(()),
            }
        }
    }

    fn begin(&self, out: &mut impl Write, url: &str, id: Option<&Value>) -> io::Result<()> {
        let secret = id.and(self.expected.secrets.first()).map(|secret| secret.as_str());
        if self.is_json {
            let begun = json!({"listening": url, "subscription_id": id, "secret": secret});
            writeln!(out, "{}", terminal::json(&begun))?;
        } else {
            let (url, secret) = (escape_controls(url), secret.unwrap_or_default());
            writeln!(out, "Listening on {url}")?;
            if let Some(id) = id {
                writeln!(
                    out,
                    "Subscription {id} delivers to it until Ctrl-C. Its signing secret, only for this URL: {secret}"
                )?;
            }
        }
        out.flush()
    }

    fn print(&self, out: &mut impl Write, request: &Received) -> io::Result<()> {
        let now = Clock::start().wall();
        let check = request.check(&self.expected, now, TOLERANCE);
        if self.is_json {
            writeln!(out, "{}", terminal::json(&self.as_json(request, &check, now)))?;
        } else {
            self.print_line(out, request, &check, now)?;
        }
        out.flush()
    }

    fn print_line(&self, out: &mut impl Write, request: &Received, check: &Check, now: Timestamp) -> io::Result<()> {
        let now = now.to_string();
        let time = now.get(11..19).unwrap_or_default();
        let Expected { secrets, names, .. } = &self.expected;
        let verdict = if check.faults.is_empty() {
            format!(
                "{} ({})",
                self.paint.word(Tone::Good, "signature valid"),
                known::in_words(&check.fits, secrets.len())
            )
        } else {
            self.paint.word(Tone::Bad, "signature wrong")
        };
        let event = Some(request.event(names)).filter(|event| !event.is_empty()).unwrap_or("-");
        let delivery = request.header(&names.delivery).unwrap_or("-");
        writeln!(
            out,
            "{time}  {:16} {}  attempt {}  {}  answered {}",
            escape_controls(event),
            escape_controls(delivery),
            request.attempt(names),
            verdict,
            request.answer.status,
        )?;
        for Cause { code, message, fix } in &check.faults {
            writeln!(out, "  {code}: {message}.\n    {fix}.")?;
        }
        if let Some(fault) = &request.answer.fault {
            writeln!(out, "  {}", escape_controls(fault))?;
        }
        Ok(())
    }

    fn as_json(&self, request: &Received, check: &Check, now: Timestamp) -> Value {
        let names = &self.expected.names;
        json!({
            "received_at": now,
            "event": request.event(names),
            "event_id": request.header("webhook-id"),
            "delivery_id": request.header(&names.delivery),
            "attempt": request.attempt(names),
            "verified": check.faults.is_empty(),
            "signatures": check.fits,
            "causes": check.faults,
            "answered": request.answer.status,
            "error": request.answer.fault,
            "body": String::from_utf8_lossy(&request.body),
        })
    }
}
