//! The stored form of a subscription. Version 1 has its secret unencrypted, version 2 encrypted. Pure but for the
//! random nonce; any thread.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::endpoint::Endpoint;
use crate::domain::event::event_type::EventTypes;
use crate::domain::signing::SigningSecret;
use crate::domain::subscription::{DisabledReason, Subscription, SubscriptionState};
use crate::domain::{AccountId, SubscriptionId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::rows::codec;
use crate::storage::rows::record::damaged;
use crate::storage::rows::sealing::{Seal, StoredSecret};

const CLEAR: u8 = 1;
const SEALED: u8 = 2;

#[derive(Serialize, Deserialize)]
struct SubscriptionV1 {
    account: u32,
    url: String,
    events: u8,
    description: String,
    secret: Zeroizing<String>,
    off: Option<(u8, u64)>,
    created_ms: u64,
    updated_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct SubscriptionV2 {
    account: u32,
    url: String,
    events: u8,
    description: String,
    nonce: [u8; 24],
    sealed: Vec<u8>,
    off: Option<(u8, u64)>,
    created_ms: u64,
    updated_ms: u64,
}

/// A stored subscription whose secret is not decrypted yet.
pub struct SubscriptionRow {
    pub(in crate::storage) account: AccountId,
    pub(in crate::storage) endpoint: Endpoint,
    events: EventTypes,
    description: String,
    secret: StoredSecret,
    pub(in crate::storage) state: SubscriptionState,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Encodes a subscription, with its secret encrypted if there is a key.
pub fn encode(subscription: &Subscription, seal: &Seal) -> Result<Vec<u8>, StorageError> {
    let off = match subscription.state {
        SubscriptionState::Active => None,
        SubscriptionState::Disabled { reason, since } => Some((reason as u8, since.as_ms())),
    };
    let account = subscription.account.0;
    let url = subscription.endpoint.as_str().to_owned();
    let events = subscription.events.as_bits();
    let description = subscription.description.clone();
    let (created_ms, updated_ms) = (subscription.created_at.as_ms(), subscription.updated_at.as_ms());
    match seal.encrypt(subscription.id, &subscription.secret)? {
        StoredSecret::Clear(secret) => {
            let secret = Zeroizing::new(secret.expose().to_owned());
            let row = SubscriptionV1 { account, url, events, description, secret, off, created_ms, updated_ms };
            codec::encode(CLEAR, &row)
        }
        StoredSecret::Sealed { nonce, sealed } => {
            let row = SubscriptionV2 { account, url, events, description, nonce, sealed, off, created_ms, updated_ms };
            codec::encode(SEALED, &row)
        }
    }
}

impl SubscriptionRow {
    /// Decodes either stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        let invalid = || damaged("subscription");
        let (row, secret) = if bytes.first() == Some(&SEALED) {
            let row: SubscriptionV2 = codec::decode(SEALED, bytes)?;
            let secret = StoredSecret::Sealed { nonce: row.nonce, sealed: row.sealed };
            ((row.account, row.url, row.events, row.description, row.off, row.created_ms, row.updated_ms), secret)
        } else {
            let row: SubscriptionV1 = codec::decode(CLEAR, bytes)?;
            let secret = StoredSecret::Clear(SigningSecret::parse(&row.secret).ok_or_else(invalid)?);
            ((row.account, row.url, row.events, row.description, row.off, row.created_ms, row.updated_ms), secret)
        };
        let (account, url, events, description, off, created_ms, updated_ms) = row;
        let state = match off {
            None => SubscriptionState::Active,
            Some((reason, since_ms)) => SubscriptionState::Disabled {
                reason: DisabledReason::from_number(reason).ok_or_else(invalid)?,
                since: Timestamp::from_ms(since_ms),
            },
        };
        Ok(Self {
            account: AccountId(account),
            endpoint: Endpoint::from_stored(&url).ok_or_else(invalid)?,
            events: EventTypes::from_bits(events),
            description,
            secret,
            state,
            created_at: Timestamp::from_ms(created_ms),
            updated_at: Timestamp::from_ms(updated_ms),
        })
    }

    /// The subscription with that number and its decrypted secret.
    pub fn open(self, id: SubscriptionId, seal: &Seal) -> Result<Subscription, StorageError> {
        Ok(Subscription {
            id,
            account: self.account,
            endpoint: self.endpoint,
            events: self.events,
            description: self.description,
            secret: seal.open(id, self.secret)?,
            state: self.state,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}
