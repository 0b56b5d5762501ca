//! The stored form of an audit record. Pure; any thread. A stored struct never changes: another shape is another version.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::audit::{Actor, AuditRecord, Change, Origin};
use crate::domain::{AccountId, AuditId, KeyId};
use crate::storage::error::StorageError;
use crate::storage::rows::codec;
use crate::storage::rows::record::damaged;

const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct AuditRow {
    actor: ActorRow,
    request_id: String,
    source: Option<String>,
    action: String,
    object: String,
    /// JSON.
    before: Option<String>,
    after: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum ActorRow {
    Key { id: u32, prefix: String },
    Operator { user: String },
}

/// The stored form; account and id are its key.
pub fn encode(record: &AuditRecord) -> Result<Vec<u8>, StorageError> {
    let AuditRecord { origin, change, .. } = record;
    let text = |fields: &Option<Map<String, Value>>| fields.clone().map(|fields| Value::Object(fields).to_string());
    let actor = match &origin.actor {
        Actor::Key { id, prefix } => ActorRow::Key { id: id.0, prefix: prefix.clone() },
        Actor::Operator { user } => ActorRow::Operator { user: user.clone() },
    };
    let row = AuditRow {
        actor,
        request_id: origin.request_id.clone(),
        source: origin.source.map(|address| address.to_string()),
        action: change.action.clone(),
        object: change.object.clone(),
        before: text(&change.before),
        after: text(&change.after),
    };
    codec::encode(VERSION, &row)
}

/// Reads the stored form.
pub fn decode(account: AccountId, id: AuditId, bytes: &[u8]) -> Result<AuditRecord, StorageError> {
    let row: AuditRow = codec::decode(VERSION, bytes)?;
    let fields = |text: Option<String>| text.map(|text| serde_json::from_str(&text)).transpose();
    let actor = match row.actor {
        ActorRow::Key { id, prefix } => Actor::Key { id: KeyId(id), prefix },
        ActorRow::Operator { user } => Actor::Operator { user },
    };
    let source = row.source.map(|text| text.parse()).transpose().map_err(|_| damaged("audit record"))?;
    let origin = Origin { actor, request_id: row.request_id, source };
    let change = Change {
        account,
        action: row.action,
        object: row.object,
        before: fields(row.before).map_err(|_| damaged("audit record"))?,
        after: fields(row.after).map_err(|_| damaged("audit record"))?,
    };
    Ok(AuditRecord { id, origin, change })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_stored() {
        let account = AccountId(3);
        let mut fields = Map::new();
        fields.insert("active".to_owned(), true.into());
        let key = Actor::Key { id: KeyId(2), prefix: "tc_live_a1a1".to_owned() };
        let operator = Actor::Operator { user: "anna".to_owned() };
        for (actor, source) in [(key, Some("10.0.0.1".parse().unwrap())), (operator, None)] {
            let record = AuditRecord {
                id: AuditId(7),
                origin: Origin { actor, request_id: "req_1".to_owned(), source },
                change: Change {
                    after: Some(fields.clone()),
                    ..Change::of(account, "subscription.created", "1".to_owned())
                },
            };
            assert_eq!(decode(account, record.id, &encode(&record).unwrap()).unwrap(), record);
        }
    }
}
