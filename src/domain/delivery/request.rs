//! The request of an attempt where options of the subscription shape it: headers, signatures and body. Pure; any thread.
//! What is kept of it for display has no secret in it.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use crate::domain::delivery::headers::HEADER_NAMES;
use crate::domain::event::event_type::EventType;
use crate::domain::options::format::Format;
use crate::domain::options::names::Names;
use crate::domain::secret_text::SecretText;
use crate::domain::subscription::Subscription;
use crate::domain::{BatchId, DeliveryId, Timestamp};

/// What is kept with an attempt of a request that options have shaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentRequest {
    /// Names and values in sending order; a secret value is redacted.
    pub headers: Vec<SentHeader>,
    /// SHA-256 of the body that was sent.
    pub body_sha256: [u8; 32],
}

/// The name and the value of a header; most names are known when this program is compiled.
pub type SentHeader = (Cow<'static, str>, Cow<'static, str>);

/// A request as it is sent.
#[derive(Debug)]
pub struct ShapedRequest<'a> {
    body: Cow<'a, [u8]>,
    kept: SentRequest,
    /// The values of the last headers, which are redacted in what is kept.
    secrets: Vec<Cow<'a, SecretText>>,
}

/// What a request is made of beside the subscription.
#[derive(Clone, Copy, Debug)]
pub struct RequestOf<'a> {
    /// What is sent.
    pub content: Content<'a>,
    /// The attempt, counted from 1.
    pub number: u32,
    /// The version of this program.
    pub version: &'a str,
    /// The name of the account.
    pub account: &'a str,
    /// When the attempt begins, by the wall clock.
    pub now: Timestamp,
    /// The access token, if the login needs one and there is one.
    pub access_token: Option<&'a SecretText>,
}

/// What is sent in one request.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// One delivery.
    One {
        /// Which.
        delivery: DeliveryId,
        /// The type of its event.
        event_type: EventType,
        /// The stored envelope.
        envelope: &'a [u8],
    },
    /// Several events.
    Batch {
        /// Its number.
        id: BatchId,
        /// The stored envelopes.
        envelopes: &'a [&'a [u8]],
    },
}

/// What an event's header says of a batch.
const BATCH: &str = "batch";

impl Subscription {
    /// Whether its requests differ from those of a subscription without options.
    #[must_use]
    pub fn shapes_requests(&self) -> bool {
        self.options.shape_requests() || !self.keys.previous.is_empty()
    }

    /// The request of an attempt; none if the stored envelope cannot be read.
    #[must_use]
    pub fn request<'a>(&'a self, of: &RequestOf<'a>) -> Option<ShapedRequest<'a>> {
        let options = &self.options;
        let names = &options.names;
        let (body, id, delivery_id, event_name) = match of.content {
            // One that is sent alone, as after a redelivery, is a batch of one.
            Content::One { delivery, envelope, .. } if options.batch.is_some() => {
                let id = BatchId(delivery.event.0).to_string();
                (Cow::Owned(batch_body(&id, &[envelope], names)?), id.clone(), id, BATCH.to_owned())
            }
            Content::One { delivery, event_type, envelope } => {
                let body = options.format.body(envelope, names, of.account)?;
                (body, delivery.event.to_string(), delivery.to_string(), event_type.name().to_owned())
            }
            Content::Batch { id, envelopes } => {
                let id = id.to_string();
                (Cow::Owned(batch_body(&id, envelopes, names)?), id.clone(), id, BATCH.to_owned())
            }
        };
        let Names { event, delivery, attempt, .. } = names;
        let mut headers: Vec<SentHeader> = Vec::with_capacity(HEADER_NAMES.len() + 1 + options.headers.len());
        headers.push(("Content-Type".into(), options.format.content_type().into()));
        headers.push(("User-Agent".into(), format!("TempClock-Webhooks/{}", of.version).into()));
        let described = [(event, event_name), (delivery, delivery_id), (attempt, of.number.to_string())];
        let described = described.into_iter().map(|(name, value)| (name.as_str(), value));
        let signed = self.keys.body_signature(names, options.signatures, of.now, &body);
        let standard = self.keys.standard_headers(options.signatures, &id, of.now, &body);
        let plain = described.chain(signed).chain(standard).filter(|(name, _)| !name.is_empty());
        headers.extend(plain.map(|(name, value)| (header_name(name), value.into())));
        let auth = options.auth.as_ref().and_then(|auth| auth.header(of.access_token));
        let auth = auth.map(|login| ("Authorization".into(), Cow::Owned(login)));
        let own = options.headers.iter().map(|header| (header_name(&header.name), Cow::Borrowed(&header.value)));
        let mut secrets = Vec::with_capacity(1 + options.headers.len());
        for (name, value) in auth.into_iter().chain(own) {
            headers.push((name, SecretText::REDACTED.into()));
            secrets.push(value);
        }
        let body_sha256 = Sha256::digest(&body).into();
        Some(ShapedRequest { body, kept: SentRequest { headers, body_sha256 }, secrets })
    }
}

/// The name, without a copy of it where it is one of the server's own.
fn header_name(name: &str) -> Cow<'static, str> {
    let known = HEADER_NAMES.into_iter().find(|known| *known == name);
    known.map_or_else(|| name.to_owned().into(), Cow::Borrowed)
}

/// The body of a batch: its id and the envelopes, as they are sent alone.
fn batch_body(id: &str, envelopes: &[&[u8]], names: &Names) -> Option<Vec<u8>> {
    let mut body = format!(r#"{{"id":"{id}","events":["#).into_bytes();
    for (index, envelope) in envelopes.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        // The format is `json`, which needs no name of the account.
        body.extend_from_slice(&Format::Json.body(envelope, names, "")?);
    }
    body.extend_from_slice(b"]}");
    Some(body)
}

impl ShapedRequest<'_> {
    /// Names and values, in sending order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = &self.kept.headers;
        let first_secret = headers.len().saturating_sub(self.secrets.len());
        let plain = headers.iter().take(first_secret).map(|(name, value)| (&**name, &**value));
        let secret = headers.iter().skip(first_secret).zip(&self.secrets);
        plain.chain(secret.map(|((name, _), value)| (&**name, value.expose())))
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// What is kept of it.
    #[must_use]
    pub fn into_kept(self) -> SentRequest {
        self.kept
    }
}
