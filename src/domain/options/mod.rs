//! The options of a subscription: what differs from what every subscription gets. Pure; any thread. Each option is read
//! from JSON and shown as JSON in a file of its own; this one puts them together. A subscription without options has the
//! defaults, and costs nothing more.

pub mod auth;
pub mod batch;
pub mod certificate;
mod conflicts;
pub mod filter;
pub mod format;
pub mod headers;
pub mod mode;
pub mod names;
pub mod order;
pub mod rate;
pub mod signatures;
pub mod span;
pub mod window;

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Map, Value};

use self::auth::Auth;
use self::batch::Batch;
use self::filter::Filter;
use self::format::Format;
use self::headers::OwnHeader;
use self::mode::Mode;
use self::names::Names;
use self::order::Order;
use self::rate::Rate;
use self::signatures::SignatureKinds;
use self::span::{Span, in_words};
use self::window::Window;
use crate::domain::FieldError;
use crate::domain::delivery::retry::RetryRule;
use crate::domain::endpoint::Endpoint;

/// The options of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether deliveries are sent or read.
    pub mode: Mode,
    /// Sent with every attempt.
    pub headers: Vec<OwnHeader>,
    /// The receiver's own login.
    pub auth: Option<Auth>,
    /// The name of the client certificate that is shown.
    pub client_certificate: Option<Arc<str>>,
    /// The form of the body.
    pub format: Format,
    /// Other names of headers and envelope keys.
    pub names: Names,
    /// Which signatures are sent.
    pub signatures: SignatureKinds,
    /// Which events it gets.
    pub filter: Option<Filter>,
    /// Which deliveries wait for one another.
    pub order: Order,
    /// How many events go in one request.
    pub batch: Option<Batch>,
    /// How often attempts may start.
    pub rate_limit: Option<Rate>,
    /// The most attempts in flight.
    pub max_in_flight: Option<usize>,
    /// The time of one attempt.
    pub timeout: Option<Span>,
    /// The waits before each retry.
    pub retry_schedule: Option<Vec<Span>>,
    /// When attempts may start.
    pub delivery_window: Option<Window>,
}

/// What the server's settings allow.
#[derive(Clone, Copy, Debug)]
pub struct OptionLimits {
    /// The longest time of one attempt.
    pub timeout: Duration,
    /// The most attempts in flight of one endpoint.
    pub max_in_flight: usize,
}

/// The shortest time that the server's settings may have too.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest wait before a retry, and the most of them, as the server's settings may have them.
const LONGEST_WAIT: Duration = Duration::from_hours(366 * 24);
const RETRIES_MAX: usize = 50;
/// More than any server may have.
const IN_FLIGHT_MAX: usize = 256;
const LONGEST_TIMEOUT: Duration = Duration::from_hours(1);

/// The names of all options, in the order in which they are shown.
pub const OPTIONS: [&str; 15] = [
    "mode",
    "headers",
    "auth",
    "client_certificate",
    "format",
    "names",
    "signatures",
    "filter",
    "order",
    "batch",
    "rate_limit",
    "max_in_flight",
    "timeout",
    "retry_schedule",
    "delivery_window",
];
/// Those that hold secrets, and so are sealed in the store.
pub const SEALED: [&str; 2] = ["headers", "auth"];

/// What all subscriptions without options share.
static DEFAULTS: LazyLock<Arc<Options>> = LazyLock::new(Arc::default);

impl Options {
    /// The defaults.
    #[must_use]
    pub fn defaults() -> Arc<Self> {
        Arc::clone(&DEFAULTS)
    }

    /// Options to share; those without any take no memory of their own.
    #[must_use]
    pub fn shared(options: Self) -> Arc<Self> {
        if options == **DEFAULTS { Self::defaults() } else { Arc::new(options) }
    }

    /// Whether requests differ from those of a subscription without options.
    #[must_use]
    pub fn shape_requests(&self) -> bool {
        !self.headers.is_empty()
            || self.auth.is_some()
            || self.format != Format::default()
            || self.signatures != SignatureKinds::default()
            || !self.names.are_own()
            || self.batch.is_some()
    }

    /// Where an access token is asked for, if one is.
    #[must_use]
    pub fn token_url(&self) -> Option<&Endpoint> {
        match &self.auth {
            Some(Auth::OAuth2(credentials)) => Some(&credentials.token_url),
            _ => None,
        }
    }

    /// Sets one option; null is its default. `before` has the secrets that `"set"` stands for.
    fn set(&mut self, name: &str, value: &Value, before: &Self) -> Result<(), Vec<FieldError>> {
        let default = Self::default;
        let is_default = value.is_null();
        match name {
            "mode" if is_default => self.mode = default().mode,
            "mode" => self.mode = Mode::read(value)?,
            "headers" if is_default => self.headers = default().headers,
            "headers" => self.headers = headers::read(value, &before.headers)?,
            "auth" if is_default => self.auth = None,
            "auth" => self.auth = Some(Auth::read(value, before.auth.as_ref())?),
            "client_certificate" => self.client_certificate = unless_null(value, certificate::read)?,
            "format" if is_default => self.format = default().format,
            "format" => self.format = Format::read(value)?,
            "names" if is_default => self.names = default().names,
            "names" => self.names = Names::read(value)?,
            "signatures" if is_default => self.signatures = default().signatures,
            "signatures" => self.signatures = SignatureKinds::read(value)?,
            "filter" => self.filter = unless_null(value, Filter::read)?.flatten(),
            "order" if is_default => self.order = default().order,
            "order" => self.order = Order::read(value)?,
            "batch" => self.batch = unless_null(value, Batch::read)?,
            "rate_limit" => self.rate_limit = unless_null(value, Rate::read)?,
            "max_in_flight" => self.max_in_flight = unless_null(value, read_in_flight)?,
            "timeout" => self.timeout = unless_null(value, read_timeout)?,
            "retry_schedule" => self.retry_schedule = unless_null(value, read_schedule)?,
            "delivery_window" => self.delivery_window = unless_null(value, Window::read)?,
            _ => return Err(vec![FieldError::unknown(name, &OPTIONS)]),
        }
        Ok(())
    }

    /// All options as JSON, with their secrets or with what stands for these; null is a default that has no value.
    #[must_use]
    pub fn to_json(&self, with_secrets: bool) -> Map<String, Value> {
        let headers = (!self.headers.is_empty()).then(|| headers::to_json(&self.headers, with_secrets));
        let values: [Value; OPTIONS.len()] = [
            self.mode.name().into(),
            headers.into(),
            self.auth.as_ref().map(|auth| auth.to_json(with_secrets)).into(),
            self.client_certificate.as_deref().into(),
            self.format.name().into(),
            self.names.to_json().into(),
            self.signatures.names().into(),
            self.filter.as_ref().map(Filter::to_json).into(),
            self.order.name().into(),
            self.batch.as_ref().map(Batch::to_json).into(),
            self.rate_limit.as_ref().map(Rate::as_str).into(),
            self.max_in_flight.into(),
            self.timeout.as_ref().map(Span::as_str).into(),
            self.retry_schedule.as_ref().map(|waits| waits.iter().map(Span::as_str).collect::<Vec<_>>()).into(),
            self.delivery_window.as_ref().map(Window::to_json).into(),
        ];
        OPTIONS.into_iter().map(str::to_owned).zip(values).collect()
    }

    /// The options that [`Options::to_json`] gave with secrets.
    #[must_use]
    pub fn from_json(fields: &Map<String, Value>) -> Option<Self> {
        let mut options = Self::default();
        for (name, value) in fields {
            if name == "delivery_window" {
                options.delivery_window = if value.is_null() { None } else { Some(Window::from_stored(value)?) };
            } else {
                options.set(name, value, &Self::default()).ok()?;
            }
        }
        Some(options)
    }

    /// The rule for retries of a subscription with its own schedule.
    #[must_use]
    pub fn retry_rule(&self, server: &RetryRule) -> Option<RetryRule> {
        let waits = self.retry_schedule.as_ref()?.iter().map(|wait| wait.length).collect();
        Some(RetryRule { waits, ..server.clone() })
    }

    /// What exceeds the server's settings and did not before.
    #[must_use]
    pub fn excesses(&self, before: &Self, limits: OptionLimits) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let new_timeout = self.timeout.as_ref().filter(|timeout| before.timeout.as_ref() != Some(timeout));
        if new_timeout.is_some_and(|timeout| timeout.length > limits.timeout) {
            let message =
                format!("must be at most the server's delivery.timeout, which is {}", in_words(limits.timeout));
            errors.push(FieldError::new("timeout", message));
        }
        let new_cap = self.max_in_flight.filter(|cap| before.max_in_flight != Some(*cap));
        if new_cap.is_some_and(|cap| cap > limits.max_in_flight) {
            let limit = limits.max_in_flight;
            let message = format!("must be at most the server's delivery.max_in_flight_per_endpoint, which is {limit}");
            errors.push(FieldError::new("max_in_flight", message));
        }
        errors
    }

    /// Whether deliveries are read by the receiver.
    #[must_use]
    pub fn is_pull(&self) -> bool {
        self.mode == Mode::Pull
    }
}

fn unless_null<T>(
    value: &Value,
    read: impl FnOnce(&Value) -> Result<T, Vec<FieldError>>,
) -> Result<Option<T>, Vec<FieldError>> {
    if value.is_null() { Ok(None) } else { read(value).map(Some) }
}

fn read_in_flight(value: &Value) -> Result<usize, Vec<FieldError>> {
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
    let message = format!("must be an integer from 1 to {IN_FLIGHT_MAX}, and at most the server's limit");
    count
        .filter(|count| (1..=IN_FLIGHT_MAX).contains(count))
        .ok_or_else(|| vec![FieldError::new("max_in_flight", message)])
}

fn read_timeout(value: &Value) -> Result<Span, Vec<FieldError>> {
    let read = Span::read(value, &(SHORTEST..=LONGEST_TIMEOUT));
    read.map_err(|message| vec![FieldError::new("timeout", message)])
}

fn read_schedule(value: &Value) -> Result<Vec<Span>, Vec<FieldError>> {
    let Some(given) = value.as_array().filter(|given| given.len() <= RETRIES_MAX) else {
        let message =
            format!("must be a list of up to {RETRIES_MAX} waits such as [\"10s\", \"5m\"], or null for the server's");
        return Err(vec![FieldError::new("retry_schedule", message)]);
    };
    let (mut waits, mut errors) = (Vec::with_capacity(given.len()), Vec::new());
    for (index, wait) in given.iter().enumerate() {
        match Span::read(wait, &(SHORTEST..=LONGEST_WAIT)) {
            Ok(wait) => waits.push(wait),
            Err(message) => errors.push(FieldError::new(format!("retry_schedule[{index}]"), message)),
        }
    }
    if errors.is_empty() { Ok(waits) } else { Err(errors) }
}

/// A change of options: the values of the fields that were given. It may hold secrets, so its `Debug` shows names alone.
#[derive(Clone, Default)]
pub struct OptionsChange(Vec<(String, Value)>);

impl OptionsChange {
    /// Whether no option was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives an option.
    pub fn push(&mut self, name: &str, value: Value) {
        self.0.push((name.to_owned(), value));
    }

    /// The options after the change, or everything that is wrong with it.
    pub fn apply(&self, before: &Options) -> Result<Options, Vec<FieldError>> {
        let mut after = before.clone();
        let mut errors = Vec::new();
        for (name, value) in &self.0 {
            errors.extend(after.set(name, value, before).err().into_iter().flatten());
        }
        if errors.is_empty() {
            errors = after.conflicts();
        }
        if errors.is_empty() { Ok(after) } else { Err(errors) }
    }
}

impl fmt::Debug for OptionsChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(fields: &Value) -> OptionsChange {
        let fields = fields.as_object().unwrap().iter();
        OptionsChange(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    fn all() -> Options {
        let given = json!({
            "mode": "push",
            "headers": {"X-Site": "north"},
            "auth": {"type": "bearer", "token": "t0ken"},
            "client_certificate": "payroll",
            "format": "json",
            "names": {"event": "X-Event"},
            "signatures": ["ed25519"],
            "filter": {"location_id": [3, 4], "site.name": {"prefix": "N"}},
            "order": "subscription",
            "batch": {"max": 100, "wait": "5s"},
            "rate_limit": "10/s",
            "max_in_flight": 2,
            "timeout": "5s",
            "retry_schedule": ["1s", "90s"],
            "delivery_window": {"days": ["mon"], "from": "06:00", "to": "20:00", "time_zone": "Europe/London"},
        });
        assert_eq!(given.as_object().unwrap().len(), OPTIONS.len());
        change(&given).apply(&Options::default()).unwrap()
    }

    #[test]
    fn what_is_stored_is_read_again_and_what_is_shown_has_no_secret() {
        let options = all();
        assert_eq!(Options::from_json(&options.to_json(true)), Some(options.clone()));
        assert_eq!(Options::from_json(&Options::default().to_json(true)), Some(Options::default()));
        let shown = serde_json::to_string(&options.to_json(false)).unwrap();
        let debug = format!("{options:?} {:?}", change(&json!({"auth": {"type": "bearer", "token": "t0ken"}})));
        for text in [shown, debug] {
            assert!(!text.contains("north") && !text.contains("t0ken"), "{text}");
        }
        let stored = options.to_json(true);
        let secret =
            |name: &&str| stored[*name].to_string().contains("north") || stored[*name].to_string().contains("t0ken");
        assert_eq!(OPTIONS.into_iter().filter(secret).collect::<Vec<_>>(), SEALED);
    }

    #[test]
    fn null_is_the_default_of_each_and_the_rest_stays() {
        for name in OPTIONS {
            let mut given = Map::new();
            given.insert(name.to_owned(), Value::Null);
            let after = change(&given.into()).apply(&all()).unwrap();
            for (other, value) in after.to_json(true) {
                let wanted = if other == name { Options::default() } else { all() };
                assert_eq!(value, wanted.to_json(true)[&other], "{name}: {other}");
            }
        }
    }

    #[test]
    fn a_whole_answer_sent_back_changes_nothing() {
        let shown = Value::from(all().to_json(false));
        assert_eq!(change(&shown).apply(&all()).unwrap(), all());
    }

    #[test]
    fn what_does_not_go_together_is_refused_whichever_comes_second() {
        for (first, second) in [
            (json!({"headers": {"authorization": "x"}}), json!({"auth": {"type": "bearer", "token": "x"}})),
            (json!({"headers": {"X-A": "x"}}), json!({"names": {"event": "x-a"}})),
            (json!({"format": "cloudevents"}), json!({"names": {"envelope": {"id": "i"}}})),
            (json!({"format": "form"}), json!({"batch": {"max": 2, "wait": "1s"}})),
            (json!({"order": "worker"}), json!({"batch": {"max": 2, "wait": "1s"}})),
        ] {
            for (first, second) in [(&first, &second), (&second, &first)] {
                let before = change(first).apply(&Options::default()).unwrap();
                assert_eq!(change(second).apply(&before).unwrap_err().len(), 1, "{first} {second}");
            }
        }
    }
}
