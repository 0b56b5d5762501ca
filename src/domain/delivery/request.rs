//! The request of an attempt where options of the subscription shape it: headers, signatures and body. Pure; any thread.
//! What is kept of it for display has no secret in it.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

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
    pub headers: Vec<(String, String)>,
    /// SHA-256 of the body that was sent.
    pub body_sha256: [u8; 32],
}

/// A request as it is sent.
#[derive(Debug)]
pub struct ShapedRequest<'a> {
    headers: Vec<(String, SecretText)>,
    body: Cow<'a, [u8]>,
    kept: SentRequest,
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
    pub fn request<'a>(&self, of: &RequestOf<'a>) -> Option<ShapedRequest<'a>> {
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
        let Names { event, delivery, attempt, .. } = &options.names;
        let mut plain = vec![
            ("Content-Type", options.format.content_type().to_owned()),
            ("User-Agent", format!("TempClock-Webhooks/{}", of.version)),
            (event, event_name),
            (delivery, delivery_id),
            (attempt, of.number.to_string()),
        ];
        plain.extend(self.keys.body_signature(&options.names, options.signatures, of.now, &body));
        plain.extend(self.keys.standard_headers(options.signatures, &id, of.now, &body));
        let plain = plain.into_iter().filter(|(name, _)| !name.is_empty());
        let mut kept: Vec<_> = plain.map(|(name, value)| (name.to_owned(), value)).collect();
        let mut headers: Vec<_> = kept.iter().map(|(name, value)| (name.clone(), SecretText::new(value))).collect();
        let auth = options.auth.as_ref().and_then(|auth| auth.header(of.access_token));
        let auth = auth.map(|login| ("Authorization".to_owned(), login));
        let own = options.headers.iter().map(|header| (header.name.clone(), header.value.clone()));
        for (name, value) in auth.into_iter().chain(own) {
            kept.push((name.clone(), SecretText::REDACTED.to_owned()));
            headers.push((name, value));
        }
        let body_sha256 = Sha256::digest(&body).into();
        Some(ShapedRequest { headers, body, kept: SentRequest { headers: kept, body_sha256 } })
    }
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
        self.headers.iter().map(|(name, value)| (name.as_str(), value.expose()))
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
