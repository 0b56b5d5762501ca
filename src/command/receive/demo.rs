//! `demo`: runs the real server and a receiver on loopback, in a temporary folder. Creates a subscription, publishes a
//! morning of clock-ins over the API, and prints every delivery with its signatures checked.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::command::client::control_api::with_store;
use crate::command::console::output::text;
use crate::command::manage::{dashboard, keys};
use crate::command::receive::diagnosis::Expected;
use crate::command::receive::receiver::{self, Received, ReceiverResponse};
use crate::command::server::log_output;
use crate::command::server::serve::{self, End};
use crate::command::{Exit, Outcome};
use crate::config::{Config, Sources};
use crate::domain::options::names::Names;
use crate::domain::signing::SigningSecret;

const ACCOUNT: &str = "demo";
const USUAL_ADDRESS: &str = "127.0.0.1:8080";
/// Workers and times; the receiver responds "busy" once, to show a retry.
const MORNING: [(&str, &str); 6] = [
    ("07:55:12", "Maria Garcia"),
    ("07:57:40", "Deshawn Carter"),
    ("07:58:03", "Linh Nguyen"),
    ("07:59:31", "Zoë Keller"),
    ("08:00:00", "Tomás Ortega"),
    ("08:04:47", "Aisha Khan"),
];
const BUSY_FOR: &str = "Linh Nguyen";
const FIRST_WORKER: usize = 441;
/// Time limit for the first deliveries.
const FIRST_DELIVERIES_TIMEOUT: Duration = Duration::from_secs(30);
/// Timestamp tolerance, as in the Standard Webhooks libraries.
const TOLERANCE: Duration = Duration::from_mins(5);

pub fn run(listen: Option<&str>) -> Outcome {
    let failed = |error: &dyn std::fmt::Display| (Exit::Failed, format!("the demo cannot start: {error}"));
    log_output::warnings_only();
    let folder = tempfile::Builder::new().prefix("tempclock-demo-").tempdir().map_err(|error| failed(&error))?;
    let (address, received) = receiver::start(([127, 0, 0, 1], 0).into(), answer).map_err(|error| failed(&error))?;
    let (ends, end) = channel();
    let load = |address: &str| load(address, folder.path());
    let config = load(listen.unwrap_or(USUAL_ADDRESS))?;
    let (config, app) = match serve::start(&config, &ends) {
        Ok(app) => (config, app),
        // The default port is taken; use any free one.
        Err(_) if listen.is_none() => {
            let config = load("127.0.0.1:0")?;
            let app = serve::start(&config, &ends)?;
            (config, app)
        }
        Err(error) => return Err(error),
    };
    let key = make_key(&config)?;
    let hook = format!("http://{address}/crm");
    let link = with_store(&config, |client| dashboard::link(client, ACCOUNT))?;
    let demo = Demo { url: app.url(), key, receiver: hook, link: text(&link["data"], "url") };
    serve::watch_signals(ends, || log::warn!("SIGHUP: the demo has no configuration to reload"));
    let outcome = demo.play(&mut io::stdout(), &received, &end);
    app.stop();
    match outcome {
        // The reader has closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(|error| failed(&error)),
    }
}

fn answer(received: &Received) -> ReceiverResponse {
    let is_busy =
        received.attempt(&Names::default()) == 1 && String::from_utf8_lossy(&received.body).contains(BUSY_FOR);
    ReceiverResponse::status(if is_busy { 503 } else { 200 })
}

fn load(address: &str, folder: &std::path::Path) -> Result<Config, (Exit, String)> {
    let flags = [
        ("server.listen", address),
        ("storage.data_dir", &folder.to_string_lossy()),
        ("storage.free_space_reserve", "0B"),
        ("delivery.allow_http", "true"),
        ("delivery.allow_networks", "[\"127.0.0.0/8\"]"),
        ("delivery.retry_schedule", "[\"1s\", \"5s\", \"30s\"]"),
        ("rate_limit.publish_per_minute", "0"),
    ];
    let flags = flags.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
    let sources = Sources { file: None, environment: Vec::new(), flags };
    Config::load(&sources).map(|loaded| loaded.config).map_err(|errors| (Exit::Configuration, errors.to_string()))
}

fn make_key(config: &Config) -> Result<String, (Exit, String)> {
    let answer = with_store(config, |client| keys::create_first(client, ACCOUNT, "demo"))?;
    Ok(text(&answer["data"], "key"))
}

struct Demo {
    url: String,
    key: String,
    receiver: String,
    /// Signs in to the dashboard.
    link: String,
}

impl Demo {
    fn play(&self, out: &mut impl Write, received: &Receiver<Received>, end: &Receiver<End>) -> io::Result<()> {
        let subscription = self.post(
            "/api/v1/webhooks",
            &json!({"url": self.receiver, "events": ["clock_in", "clock_out"], "description": "Demo CRM"}),
        )?;
        let secret = subscription["data"]["secret"].as_str().and_then(SigningSecret::parse);
        let secret = secret.ok_or_else(|| io::Error::other("the server returned no signing secret"))?;
        writeln!(out, "The server listens on {}, the receiver on {}.", self.url, self.receiver)?;
        writeln!(out, "Subscription {} gets clock_in and clock_out.\n", subscription["data"]["id"])?;
        writeln!(out, "A morning of clock-ins:")?;
        let today = Clock::start().wall().to_string();
        let day = today.get(..10).unwrap_or("2026-03-02");
        for (index, (time, worker)) in MORNING.iter().enumerate() {
            let data = json!({
                "entry_id": 9001 + index, "worker_id": FIRST_WORKER + index, "worker_name": worker,
                "clock_in": format!("{day}T{time}Z"), "location_id": 12, "location_name": "Dock 4",
            });
            self.post("/api/v1/events", &json!({"event": "clock_in", "data": data}))?;
        }
        let mut missing = MORNING.len();
        while missing > 0 {
            match end.try_recv() {
                Ok(_) => return Ok(()),
                Err(_) => match received.recv_timeout(FIRST_DELIVERIES_TIMEOUT) {
                    Ok(delivery) => missing -= usize::from(print(out, &delivery, &secret)?),
                    Err(_) => return Err(io::Error::other("not all deliveries arrived; see the log lines above")),
                },
            }
        }
        self.say_what_next(out, &secret, &subscription["data"]["id"])?;
        loop {
            match received.recv_timeout(Duration::from_millis(100)) {
                Ok(delivery) => drop(print(out, &delivery, &secret)?),
                Err(RecvTimeoutError::Timeout) if end.try_recv().is_err() => {}
                Err(_) => return Ok(()),
            }
        }
    }

    fn post(&self, path: &str, body: &Value) -> io::Result<Value> {
        let request = ureq::post(format!("{}{path}", self.url))
            .config()
            .http_status_as_error(false)
            .build()
            .header("Authorization", format!("Bearer {}", self.key))
            .content_type("application/json");
        let mut response = request.send(body.to_string()).map_err(io::Error::other)?;
        let text = response.body_mut().read_to_string().map_err(io::Error::other)?;
        if response.status().is_success() {
            Ok(serde_json::from_str(&text)?)
        } else {
            Err(io::Error::other(format!("POST {path} returned {}: {text}", response.status())))
        }
    }

    fn say_what_next(&self, out: &mut impl Write, secret: &SigningSecret, id: &Value) -> io::Result<()> {
        let Self { url, key, receiver, link } = self;
        let secret = secret.expose();
        write!(
            out,
            "
All delivered. See it in your browser; the link signs in once, within five minutes:

  {link}

Next, try these in another terminal; deliveries are printed here:

  export URL={url} KEY={key}

  # publish an event
  curl -s $URL/api/v1/events -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' \\
    -d '{{\"event\":\"clock_in\",\"data\":{{\"entry_id\":1,\"worker_id\":7,\"worker_name\":\"You\",\"clock_in\":\"2026-03-02T08:00:00Z\",\"location_id\":12}}}}'

  # the subscription and its last attempts
  curl -s $URL/api/v1/webhooks/{id} -H \"Authorization: Bearer $KEY\"

  # subscribe your own endpoint on this machine
  curl -s $URL/api/v1/webhooks -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' \\
    -d '{{\"url\":\"{receiver}\",\"events\":[\"worker_created\"]}}'

  # sign the body in file body.json as the server does, to compare with X-TempClock-Signature
  openssl dgst -sha256 -hmac {secret} body.json

Ctrl-C ends the demo and removes its files.
"
        )?;
        out.flush()
    }
}

/// Prints a delivery; returns whether it was accepted.
fn print(out: &mut impl Write, delivery: &Received, secret: &SigningSecret) -> io::Result<bool> {
    let body: Value = serde_json::from_slice(&delivery.body).unwrap_or_default();
    let is_taken = (200..300).contains(&delivery.answer.status);
    let expected = Expected { secrets: vec![secret.expose().to_owned().into()], ..Expected::default() };
    let check = delivery.check(&expected, Clock::start().wall(), TOLERANCE);
    writeln!(
        out,
        "  {:10} {:16} attempt {}  answered {}  signature {}{}",
        delivery.event(&expected.names),
        body["data"]["worker_name"].as_str().unwrap_or("-"),
        delivery.attempt(&expected.names),
        delivery.answer.status,
        if check.faults.is_empty() { "valid" } else { "of another subscription" },
        if is_taken { "" } else { "  (busy: it will be retried in a second)" },
    )?;
    out.flush()?;
    Ok(is_taken)
}
