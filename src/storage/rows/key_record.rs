//! The stored form of an API key: the current version and earlier ones that are still read. Pure; any thread.

use serde::{Deserialize, Serialize};

use crate::domain::access::{ApiKey, KeyHash, Scopes};
use crate::domain::{AccountId, KeyId, SubscriptionId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::rows::codec;
use crate::storage::rows::record::damaged;

/// The version without the time of last use; read only.
const WITHOUT_USE: u8 = 1;
/// The version without subscriptions; read only.
const WITHOUT_SUBSCRIPTIONS: u8 = 2;
const VERSION: u8 = 3;

#[derive(Serialize, Deserialize)]
struct KeyV1 {
    account: u32,
    name: String,
    prefix: String,
    hash: [u8; 32],
    /// One bit each.
    scopes: u16,
    expires_ms: Option<u64>,
    networks: Vec<String>,
    created_ms: u64,
    revoked_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct KeyV2 {
    first: KeyV1,
    last_used_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct KeyV3 {
    before: KeyV2,
    subscriptions: Vec<u32>,
}

/// The stored form of an API key.
pub fn encode(key: &ApiKey) -> Result<Vec<u8>, StorageError> {
    let first = KeyV1 {
        account: key.account.0,
        name: key.name.clone(),
        prefix: key.prefix.clone(),
        hash: *key.hash.as_bytes(),
        scopes: key.scopes.bits(),
        expires_ms: key.expires_at.map(Timestamp::as_ms),
        networks: key.networks.iter().map(ToString::to_string).collect(),
        created_ms: key.created_at.as_ms(),
        revoked_ms: key.revoked_at.map(Timestamp::as_ms),
    };
    let before = KeyV2 { first, last_used_ms: key.last_used_at.map(Timestamp::as_ms) };
    codec::encode(VERSION, &KeyV3 { before, subscriptions: key.subscriptions.iter().map(|id| id.0).collect() })
}

/// Reads the stored form of an API key.
pub fn decode(id: KeyId, bytes: &[u8]) -> Result<ApiKey, StorageError> {
    let all = |before| KeyV3 { before, subscriptions: Vec::new() };
    let row = match bytes.first() {
        Some(&WITHOUT_USE) => all(KeyV2 { first: codec::decode(WITHOUT_USE, bytes)?, last_used_ms: None }),
        Some(&WITHOUT_SUBSCRIPTIONS) => all(codec::decode(WITHOUT_SUBSCRIPTIONS, bytes)?),
        _ => codec::decode(VERSION, bytes)?,
    };
    let KeyV3 { before: KeyV2 { first, last_used_ms }, subscriptions } = row;
    let networks = first.networks.iter().map(|text| text.parse()).collect::<Result<_, _>>();
    Ok(ApiKey {
        id,
        account: AccountId(first.account),
        name: first.name,
        prefix: first.prefix,
        hash: KeyHash::from_bytes(first.hash),
        scopes: Scopes::from_bits(first.scopes),
        expires_at: first.expires_ms.map(Timestamp::from_ms),
        networks: networks.map_err(|_| damaged("key"))?,
        subscriptions: subscriptions.into_iter().map(SubscriptionId).collect(),
        created_at: Timestamp::from_ms(first.created_ms),
        revoked_at: first.revoked_ms.map(Timestamp::from_ms),
        last_used_at: last_used_ms.map(Timestamp::from_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_an_earlier_version_stored_is_still_read() {
        let key = ApiKey {
            id: KeyId(7),
            account: AccountId(3),
            name: "payroll".to_owned(),
            prefix: "tc_live_a1a1".to_owned(),
            hash: KeyHash::of("a"),
            scopes: Scopes::parse(["events:write"]).unwrap(),
            expires_at: Some(Timestamp::from_ms(9)),
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            subscriptions: vec![SubscriptionId(4)],
            created_at: Timestamp::from_ms(1),
            revoked_at: None,
            last_used_at: Some(Timestamp::from_ms(5)),
        };
        let bytes = encode(&key).unwrap();
        assert_eq!(decode(key.id, &bytes).unwrap(), key);
        let KeyV3 { before, .. } = codec::decode(VERSION, &bytes).unwrap();
        let second = codec::encode(WITHOUT_SUBSCRIPTIONS, &before).unwrap();
        let key = ApiKey { subscriptions: Vec::new(), ..key };
        assert_eq!(decode(key.id, &second).unwrap(), key);
        let first = codec::encode(WITHOUT_USE, &before.first).unwrap();
        assert_eq!(decode(key.id, &first).unwrap(), ApiKey { last_used_at: None, ..key });
    }
}
