//! The stored form of a subscription, in the version that is written and the two that are still read. Its secrets are one
//! field, sealed if there is a key: what it signs with, and the options that hold secrets. Pure but for the random nonce;
//! any thread.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::domain::endpoint::Endpoint;
use crate::domain::event::event_types::EventTypes;
use crate::domain::options::{Options, SEALED};
use crate::domain::signing::SigningSecret;
use crate::domain::signing_keys::{Ed25519Key, PreviousSecret, SigningKeys};
use crate::domain::subscription::{DisabledReason, Subscription, SubscriptionState};
use crate::domain::{AccountId, SubscriptionId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::rows::codec;
use crate::storage::rows::record::damaged;
use crate::storage::sealing::{Seal, StoredSecrets};

/// Without options, and with one secret, unencrypted or encrypted; only read.
const CLEAR: u8 = 1;
const WITH_SEALED_SECRET: u8 = 2;
const VERSION: u8 = 3;
const SECRETS_VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct SubscriptionV1 {
    account: u32,
    url: String,
    events: u8,
    description: String,
    secret: Zeroizing<String>,
    off: Off,
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
    off: Off,
    created_ms: u64,
    updated_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct SubscriptionV3 {
    account: u32,
    url: String,
    events: Vec<String>,
    description: String,
    /// The options without secrets, as a JSON object.
    options: String,
    /// What the secrets are sealed with, if they are.
    nonce: Option<[u8; 24]>,
    secrets: Zeroizing<Vec<u8>>,
    off: Off,
    created_ms: u64,
    updated_ms: u64,
}

/// The reason and the time, if it is disabled.
type Off = Option<(u8, u64)>;

#[derive(Serialize, Deserialize)]
struct SecretsV1 {
    secret: Zeroizing<String>,
    /// With the time until which each is valid, newest first.
    previous: Vec<(Zeroizing<String>, u64)>,
    ed25519: Option<Zeroizing<[u8; 32]>>,
    /// The options with secrets, as a JSON object.
    options: Zeroizing<String>,
}

/// A stored subscription whose secrets are not decrypted yet.
pub struct SubscriptionRow {
    pub(in crate::storage) account: AccountId,
    pub(in crate::storage) endpoint: Endpoint,
    events: EventTypes,
    description: String,
    options: Map<String, Value>,
    secrets: StoredSecrets,
    /// The secrets are the text of one signing secret.
    is_one_secret: bool,
    pub(in crate::storage) state: SubscriptionState,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Encodes a subscription, with its secrets encrypted if there is a key.
pub fn encode(subscription: &Subscription, seal: &Seal) -> Result<Vec<u8>, StorageError> {
    let off = match subscription.state {
        SubscriptionState::Active => None,
        SubscriptionState::Disabled { reason, since } => Some((stored_reason(reason), since.as_ms())),
    };
    let all = subscription.options.to_json(true);
    let (secret, plain): (Map<_, _>, Map<_, _>) =
        all.into_iter().partition(|(name, _)| SEALED.contains(&name.as_str()));
    let SigningKeys { secret: newest, previous, ed25519 } = &subscription.keys;
    let text = |secret: &SigningSecret| Zeroizing::new(secret.expose().to_owned());
    let secrets = SecretsV1 {
        secret: text(newest),
        previous: previous.iter().map(|one| (text(&one.secret), one.valid_until.as_ms())).collect(),
        ed25519: ed25519.as_ref().map(|key| Zeroizing::new(*key.seed())),
        options: Zeroizing::new(Value::from(secret).to_string()),
    };
    let secrets = Zeroizing::new(codec::encode(SECRETS_VERSION, &secrets)?);
    let StoredSecrets { nonce, bytes } = seal.encrypt(subscription.id, secrets)?;
    let row = SubscriptionV3 {
        account: subscription.account.0,
        url: subscription.endpoint.as_str().to_owned(),
        events: subscription.events.names(),
        description: subscription.description.clone(),
        options: Value::from(plain).to_string(),
        nonce,
        secrets: bytes,
        off,
        created_ms: subscription.created_at.as_ms(),
        updated_ms: subscription.updated_at.as_ms(),
    };
    codec::encode(VERSION, &row)
}

impl SubscriptionRow {
    /// Decodes any stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        let invalid = || damaged("subscription");
        let mut is_one_secret = true;
        let row = match bytes.first() {
            Some(&CLEAR) => {
                let row: SubscriptionV1 = codec::decode(CLEAR, bytes)?;
                let secrets = Zeroizing::new(row.secret.as_bytes().to_vec());
                without_options(row.account, row.url, row.events, row.description, None, secrets, row.off)
                    .at(row.created_ms, row.updated_ms)
            }
            Some(&WITH_SEALED_SECRET) => {
                let row: SubscriptionV2 = codec::decode(WITH_SEALED_SECRET, bytes)?;
                let (nonce, secrets) = (Some(row.nonce), Zeroizing::new(row.sealed));
                without_options(row.account, row.url, row.events, row.description, nonce, secrets, row.off)
                    .at(row.created_ms, row.updated_ms)
            }
            _ => {
                is_one_secret = false;
                codec::decode(VERSION, bytes)?
            }
        };
        let state = match row.off {
            None => SubscriptionState::Active,
            Some((reason, since_ms)) => SubscriptionState::Disabled {
                reason: reason_of(reason).ok_or_else(invalid)?,
                since: Timestamp::from_ms(since_ms),
            },
        };
        Ok(Self {
            account: AccountId(row.account),
            endpoint: match row.url.as_str() {
                "" => Endpoint::none(),
                url => Endpoint::from_stored(url).ok_or_else(invalid)?,
            },
            events: EventTypes::from_stored(row.events.iter().map(String::as_str)).ok_or_else(invalid)?,
            description: row.description,
            options: serde_json::from_str(&row.options).map_err(|_| invalid())?,
            secrets: StoredSecrets { nonce: row.nonce, bytes: row.secrets },
            is_one_secret,
            state,
            created_at: Timestamp::from_ms(row.created_ms),
            updated_at: Timestamp::from_ms(row.updated_ms),
        })
    }

    /// The subscription with that number and its decrypted secrets.
    pub fn open(self, id: SubscriptionId, seal: &Seal) -> Result<Subscription, StorageError> {
        let secrets = seal.open(id, self.secrets)?;
        let (keys, sealed) = if self.is_one_secret { one_secret(&secrets) } else { all_secrets(&secrets) }?;
        let mut options = self.options;
        options.extend(sealed);
        let options = Options::from_json(&options).ok_or_else(|| damaged("subscription"))?;
        Ok(Subscription {
            id,
            account: self.account,
            endpoint: self.endpoint,
            events: self.events,
            description: self.description,
            keys,
            options: Options::shared(options),
            state: self.state,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

type Opened = (SigningKeys, Map<String, Value>);

fn one_secret(text: &[u8]) -> Result<Opened, StorageError> {
    let secret = str::from_utf8(text).ok().and_then(SigningSecret::parse).ok_or_else(|| damaged("signing secret"))?;
    Ok((SigningKeys::of(secret), Map::new()))
}

fn all_secrets(bytes: &[u8]) -> Result<Opened, StorageError> {
    let invalid = || damaged("signing secret");
    let row: SecretsV1 = codec::decode(SECRETS_VERSION, bytes)?;
    let parse = |text: &str| SigningSecret::parse(text).ok_or_else(invalid);
    let previous = row.previous.iter().map(|(text, until_ms)| {
        Ok(PreviousSecret { secret: parse(text)?, valid_until: Timestamp::from_ms(*until_ms) })
    });
    let keys = SigningKeys {
        secret: parse(&row.secret)?,
        previous: previous.collect::<Result<_, StorageError>>()?,
        ed25519: row.ed25519.map(|seed| Ed25519Key::from_seed(&seed)),
    };
    let options = serde_json::from_str(&row.options).map_err(|_| damaged("subscription"))?;
    Ok((keys, options))
}

/// An earlier version as the present one, without its times.
fn without_options(
    account: u32,
    url: String,
    events: u8,
    description: String,
    nonce: Option<[u8; 24]>,
    secrets: Zeroizing<Vec<u8>>,
    off: Off,
) -> SubscriptionV3 {
    let events = EventTypes::from_bits(events).names();
    let options = "{}".to_owned();
    SubscriptionV3 { account, url, events, description, options, nonce, secrets, off, created_ms: 0, updated_ms: 0 }
}

/// The reasons of a disabled subscription, each stored as its place here.
const REASONS: [DisabledReason; 3] = [DisabledReason::Owner, DisabledReason::Gone, DisabledReason::FailedTooLong];

fn stored_reason(reason: DisabledReason) -> u8 {
    match reason {
        DisabledReason::Owner => 0,
        DisabledReason::Gone => 1,
        DisabledReason::FailedTooLong => 2,
    }
}

fn reason_of(stored: u8) -> Option<DisabledReason> {
    REASONS.get(usize::from(stored)).copied()
}

impl SubscriptionV3 {
    fn at(self, created_ms: u64, updated_ms: u64) -> Self {
        Self { created_ms, updated_ms, ..self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::options::OptionsChange;

    fn subscription() -> Subscription {
        let mut change = OptionsChange::default();
        change.push("headers", json!({"X-Site": "n0rth"}));
        change.push("auth", json!({"type": "bearer", "token": "t0ken"}));
        change.push("format", json!("form"));
        change.push("signatures", json!(["standard", "ed25519"]));
        let secret = |byte| SigningSecret::from_random(&[byte; 32]);
        let keys = SigningKeys {
            previous: vec![PreviousSecret { secret: secret(1), valid_until: Timestamp::from_ms(9) }],
            ed25519: Some(Ed25519Key::from_seed(&[5; 32])),
            ..SigningKeys::of(secret(2))
        };
        Subscription {
            id: SubscriptionId(7),
            account: AccountId(1),
            endpoint: Endpoint::from_stored("https://crm.example/hook").unwrap(),
            events: EventTypes::from_stored(["clock_in", "clock_out"]).unwrap(),
            description: "Zo\u{eb}".to_owned(),
            keys,
            options: Options::shared(change.apply(&Options::default()).unwrap()),
            state: SubscriptionState::Disabled { reason: DisabledReason::Gone, since: Timestamp::from_ms(3) },
            created_at: Timestamp::from_ms(1),
            updated_at: Timestamp::from_ms(2),
        }
    }

    #[test]
    fn what_is_stored_is_read_again_sealed_or_not() {
        for seal in [Seal::NONE, Seal::for_test(1)] {
            let row = encode(&subscription(), &seal).unwrap();
            assert_eq!(SubscriptionRow::decode(&row).unwrap().open(SubscriptionId(7), &seal).unwrap(), subscription());
        }
    }

    #[test]
    fn every_reason_is_read_as_it_was_stored() {
        for reason in REASONS {
            let state = SubscriptionState::Disabled { reason, since: Timestamp::from_ms(3) };
            let row = encode(&Subscription { state, ..subscription() }, &Seal::NONE).unwrap();
            assert_eq!(SubscriptionRow::decode(&row).unwrap().state, state);
        }
        assert_eq!(reason_of(3), None);
    }

    #[test]
    fn with_a_key_no_secret_is_readable_in_the_row() {
        let shows = |row: &[u8], text: &str| row.windows(text.len()).any(|window| window == text.as_bytes());
        let (clear, sealed) = (encode(&subscription(), &Seal::NONE), encode(&subscription(), &Seal::for_test(1)));
        let (clear, sealed) = (clear.unwrap(), sealed.unwrap());
        let newest = hex::encode([2; 32]);
        let previous = hex::encode([1; 32]);
        for secret in ["n0rth", "t0ken", &newest, &previous] {
            assert!(shows(&clear, secret) && !shows(&sealed, secret), "{secret}");
        }
        assert!(sealed.windows(32).all(|window| window != [5; 32]));
        assert!(SubscriptionRow::decode(&sealed).unwrap().open(SubscriptionId(8), &Seal::for_test(1)).is_err());
    }

    #[test]
    fn rows_of_earlier_versions_are_read() {
        let secret = hex::encode([2; 32]);
        let clear = SubscriptionV1 {
            account: 1,
            url: "https://crm.example/hook".to_owned(),
            events: 0b11,
            description: "Zo\u{eb}".to_owned(),
            secret: Zeroizing::new(secret.clone()),
            off: Some((1, 3)),
            created_ms: 1,
            updated_ms: 2,
        };
        let seal = Seal::for_test(1);
        let sealed = seal.encrypt(SubscriptionId(7), Zeroizing::new(secret.into_bytes())).unwrap();
        let sealed = SubscriptionV2 {
            account: 1,
            url: clear.url.clone(),
            events: 0b11,
            description: clear.description.clone(),
            nonce: sealed.nonce.unwrap(),
            sealed: sealed.bytes.to_vec(),
            off: clear.off,
            created_ms: 1,
            updated_ms: 2,
        };
        let wanted = Subscription {
            keys: SigningKeys::of(SigningSecret::from_random(&[2; 32])),
            options: Options::defaults(),
            ..subscription()
        };
        for row in [codec::encode(CLEAR, &clear).unwrap(), codec::encode(WITH_SEALED_SECRET, &sealed).unwrap()] {
            assert_eq!(SubscriptionRow::decode(&row).unwrap().open(SubscriptionId(7), &seal).unwrap(), wanted);
        }
    }
}
