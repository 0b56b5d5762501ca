//! Parses the requests for API keys; all invalid fields are reported at once. Pure; runs on the HTTP workers and on the
//! control socket's.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use serde_json::{Map, Value, json};

use crate::domain::access::{Rights, Scope, Scopes};
use crate::domain::{FieldError, FieldErrors, SubscriptionId, Timestamp};
use crate::http::api::fields::ObjectFields;
use crate::http::request::error::ApiError;

/// Maximum length of an account's or key's name, in characters.
const NAME_CHARS: usize = 100;
/// Prefix length of an IPv4-mapped IPv6 address.
const MAPPED_BITS: u8 = 96;
/// How long a key and its successor are both valid unless the caller says otherwise.
const OVERLAP: Duration = Duration::from_hours(24);
/// The longest overlap.
const OVERLAP_MAX: Duration = Duration::from_hours(7 * 24);

const FIELDS: [&str; 5] = ["name", "scopes", "expires", "networks", "subscriptions"];

/// What a key is to be.
pub struct KeyWish {
    /// Its display name.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Networks that it may be used from; empty: any.
    pub networks: Vec<IpNet>,
    /// The subscriptions that it sees; empty: all of its account.
    pub subscriptions: Vec<SubscriptionId>,
}

impl KeyWish {
    /// What it would allow.
    #[must_use]
    pub fn rights(&self) -> Rights<'_> {
        let Self { scopes, expires_at, networks, subscriptions, .. } = self;
        Rights { scopes: *scopes, expires_at: *expires_at, networks, subscriptions }
    }
}

/// The fields of an object by their names, and what is given twice.
pub fn object(text: &str) -> Result<(Map<String, Value>, FieldErrors), ApiError> {
    let mut errors = FieldErrors::default();
    Ok((ObjectFields::parse(text)?.by_name(&mut errors), errors))
}

/// Parses a new key, and adds what is wrong to the errors so far. `knows` tells whether the account has that subscription.
pub fn read(
    fields: &Map<String, Value>,
    mut errors: FieldErrors,
    now: Timestamp,
    knows: impl Fn(SubscriptionId) -> bool,
) -> Result<KeyWish, FieldErrors> {
    let name = name("name", fields.get("name")).map_err(|error| errors.add(|| error)).ok();
    let scopes = scopes(fields.get("scopes")).map_err(|error| errors.add(|| error)).ok();
    let expires = non_null(fields.get("expires")).map(lifetime).transpose();
    let expires = expires.map_err(|message| errors.add(|| FieldError::new("expires", message))).ok().flatten();
    let networks = items(fields, "networks", "an array of networks such as [\"10.0.0.0/8\"]", &mut errors, |item| {
        network(item.as_str().ok_or("must be a string such as 10.0.0.0/8")?.trim())
    });
    let wanted = "an array of subscription numbers such as [1, 2]";
    let subscriptions = items(fields, "subscriptions", wanted, &mut errors, |item| {
        let id = item.as_u64().and_then(|number| number.try_into().ok()).map(SubscriptionId);
        id.filter(|id| knows(*id)).ok_or_else(|| format!("{item} is no subscription of the account"))
    });
    for name in fields.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
        errors.add(|| FieldError::unknown(name, &FIELDS));
    }
    let expires_at = expires.map(|lifetime| now.plus(lifetime));
    match (name, scopes) {
        (Some(name), Some(scopes)) if errors.is_empty() => {
            Ok(KeyWish { name, scopes, expires_at, networks, subscriptions })
        }
        _ => Err(errors),
    }
}

/// Parses the name of a key or an account.
pub fn name(field: &str, value: Option<&Value>) -> Result<String, FieldError> {
    let Some(value) = non_null(value) else { return Err(FieldError::new(field, "is missing")) };
    let is_good = |name: &&str| (1..=NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    let wanted = || FieldError::new(field, format!("needs 1 to {NAME_CHARS} characters without control characters"));
    value.as_str().filter(is_good).map(str::to_owned).ok_or_else(wanted)
}

/// Parses for how long a rotated key is valid beside its successor, and adds what is wrong to the errors so far.
pub fn overlap(fields: &Map<String, Value>, mut errors: FieldErrors) -> Result<Duration, FieldErrors> {
    for name in fields.keys().filter(|name| *name != "overlap") {
        errors.add(|| FieldError::unknown(name, &["overlap"]));
    }
    let given = non_null(fields.get("overlap")).map(|value| {
        let overlap = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
        overlap.filter(|overlap| *overlap <= OVERLAP_MAX)
    });
    if given == Some(None) {
        errors.add(|| FieldError::new("overlap", "must be a duration of at most 7d, such as \"24h\" or \"0s\""));
    }
    if errors.is_empty() { Ok(given.flatten().unwrap_or(OVERLAP)) } else { Err(errors) }
}

/// JSON Schema of a new key.
#[must_use]
pub fn schema() -> Value {
    let scopes: Vec<_> = Scope::ALL.map(Scope::name).into_iter().chain(["*"]).collect();
    json!({
        "type": "object",
        "required": ["name", "scopes"],
        "properties": {
            "name": {"description": "A name for people.", "type": "string", "minLength": 1, "maxLength": NAME_CHARS},
            "scopes": {
                "description": "Scopes of the key, at most those of your own key; `*` is every scope but `events:erase`.",
                "type": "array",
                "minItems": 1,
                "items": {"type": "string", "enum": scopes},
            },
            "expires": {"description": "How long the key is valid, such as `90d`; if omitted, it does not expire.", "type": ["string", "null"]},
            "networks": {
                "description": "Networks that the key may be used from, in CIDR notation; empty: any.",
                "type": ["array", "null"],
                "items": {"type": "string"},
            },
            "subscriptions": {
                "description": "Numbers of the subscriptions that the key can access; empty: all of the account. A limited key cannot create subscriptions.",
                "type": ["array", "null"],
                "items": {"type": "integer"},
            },
        },
        "additionalProperties": false,
    })
}

/// JSON Schema of a rotation.
#[must_use]
pub fn rotation_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "overlap": {
                "description": "How long the old key stays valid, up to 7d; 24h by default.",
                "type": ["string", "null"],
            },
        },
        "additionalProperties": false,
    })
}

fn non_null(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

fn scopes(value: Option<&Value>) -> Result<Scopes, FieldError> {
    let names = non_null(value).map_or(Some(Vec::new()), |value| value.as_array()?.iter().map(Value::as_str).collect());
    let names = names.ok_or_else(|| FieldError::new("scopes", "must be an array such as [\"webhooks:read\"]"))?;
    Scopes::parse(names).map_err(|message| FieldError::new("scopes", message))
}

fn lifetime(value: &Value) -> Result<Duration, String> {
    let lifetime = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
    let lifetime = lifetime.filter(|lifetime| lifetime.as_secs() > 0);
    lifetime.ok_or_else(|| "must be a duration such as \"12h\" or \"90d\"".to_owned())
}

/// The items of an optional array; what is wrong is added to the errors.
fn items<T>(
    fields: &Map<String, Value>,
    field: &str,
    wanted: &str,
    errors: &mut FieldErrors,
    parse: impl Fn(&Value) -> Result<T, String>,
) -> Vec<T> {
    let Some(value) = non_null(fields.get(field)) else { return Vec::new() };
    let Some(array) = value.as_array() else {
        errors.add(|| FieldError::new(field, format!("must be {wanted}")));
        return Vec::new();
    };
    let mut parsed = Vec::new();
    for (index, item) in array.iter().enumerate() {
        match parse(item) {
            Ok(item) => parsed.push(item),
            Err(message) => errors.add(|| FieldError::new(format!("{field}[{index}]"), message)),
        }
    }
    parsed
}

/// A normalised network: no host bits, and IPv4 unmapped.
fn network(text: &str) -> Result<IpNet, String> {
    let Ok(network) = text.parse::<IpNet>() else {
        return Err(match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => format!("{text} is one address; write {text}/32"),
            Ok(IpAddr::V6(_)) => format!("{text} is one address; write {text}/128"),
            Err(_) => format!("{text} is not a network such as 10.0.0.0/8"),
        });
    };
    let exact = match network.trunc() {
        IpNet::V6(mapped) => {
            let address = mapped.addr().to_ipv4_mapped();
            let v4 = address.zip(mapped.prefix_len().checked_sub(MAPPED_BITS));
            v4.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok()).map_or(mapped.into(), IpNet::V4)
        }
        v4 @ IpNet::V4(_) => v4,
    };
    if exact == network { Ok(network) } else { Err(format!("{text} must be written {exact}")) }
}
