//! What is sent and shown of a stored event: its type and its body, or what is left of the body of one that was erased. Pure;
//! any thread.

use sha2::{Digest, Sha256};

use crate::domain::Timestamp;
use crate::domain::event::event_type::EventType;

/// The type and the body of an event. Writer, schedule and delivery threads share one copy.
#[derive(Clone, Debug)]
pub struct EventContent {
    /// Its type.
    pub event_type: EventType,
    body: Box<[u8]>,
    digest: BodyDigest,
    /// Whether it was read from the store, and so may be damaged.
    is_read: bool,
    erased: Option<Erased>,
}

/// The first half of the SHA-256 of a body: enough to detect damage, small enough to store with every body.
pub type BodyDigest = [u8; 16];

/// What is left of the body of an event that was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// SHA-256 of the body.
    pub sha256: [u8; 32],
    /// When it was erased, by the wall clock.
    pub at: Timestamp,
}

/// The first half of the SHA-256 of these bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> BodyDigest {
    let full: [u8; 32] = Sha256::digest(bytes).into();
    let mut half = [0; 16];
    half.copy_from_slice(full.split_at(16).0);
    half
}

impl EventContent {
    /// A new event with the body to deliver.
    #[must_use]
    pub fn new(event_type: EventType, body: Vec<u8>) -> Self {
        let digest = digest(&body);
        Self { event_type, body: body.into(), digest, is_read: false, erased: None }
    }

    /// One that was stored with that digest.
    #[must_use]
    pub fn read(event_type: EventType, body: &[u8], digest: BodyDigest) -> Self {
        Self { event_type, body: body.into(), digest, is_read: true, erased: None }
    }

    /// One whose body was erased.
    #[must_use]
    pub fn of_erased(event_type: EventType, erased: Erased) -> Self {
        Self { erased: Some(erased), ..Self::new(event_type, Vec::new()) }
    }

    /// The body to deliver; empty if it was erased.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The digest that the body has, or was stored with.
    #[must_use]
    pub fn digest(&self) -> BodyDigest {
        self.digest
    }

    /// SHA-256 of the body, also of one that was erased.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.erased.map_or_else(|| Sha256::digest(&self.body).into(), |erased| erased.sha256)
    }

    /// Whether the body still matches its digest.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        !self.is_read || digest(&self.body) == self.digest
    }

    /// What is left of the body, if the event was erased.
    #[must_use]
    pub fn erased(&self) -> Option<Erased> {
        self.erased
    }

    /// The same event without its body.
    #[must_use]
    pub fn erase(self, at: Timestamp) -> Self {
        let erased = self.erased.unwrap_or_else(|| Erased { sha256: self.sha256(), at });
        Self::of_erased(self.event_type, erased)
    }
}
