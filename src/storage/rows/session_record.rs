//! The stored form of a session. Pure; any thread. A stored struct never changes: another shape is another version.

use serde::{Deserialize, Serialize};

use crate::domain::access::{Holder, Session, SessionId};
use crate::domain::{AccountId, KeyId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::rows::codec;

const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct SessionRow {
    account: u32,
    holder: HolderRow,
    last_used_ms: u64,
}

#[derive(Serialize, Deserialize)]
enum HolderRow {
    Key(u32),
    Operator(String),
}

/// The stored form; the id is its key.
pub fn encode(session: &Session) -> Result<Vec<u8>, StorageError> {
    let holder = match &session.holder {
        Holder::Key(id) => HolderRow::Key(id.0),
        Holder::Operator { user } => HolderRow::Operator(user.clone()),
    };
    let row = SessionRow { account: session.account.0, holder, last_used_ms: session.last_used_at.as_ms() };
    codec::encode(VERSION, &row)
}

/// Reads the stored form.
pub fn decode(id: SessionId, bytes: &[u8]) -> Result<Session, StorageError> {
    let row: SessionRow = codec::decode(VERSION, bytes)?;
    let holder = match row.holder {
        HolderRow::Key(id) => Holder::Key(KeyId(id)),
        HolderRow::Operator(user) => Holder::Operator { user },
    };
    let (account, last_used_at) = (AccountId(row.account), Timestamp::from_ms(row.last_used_ms));
    Ok(Session { id, account, holder, last_used_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_as_it_was_stored() {
        for holder in [Holder::Key(KeyId(7)), Holder::Operator { user: "anna".to_owned() }] {
            let (id, last_used_at) = (SessionId::of("token"), Timestamp::from_ms(5));
            let session = Session { id, account: AccountId(3), holder, last_used_at };
            assert_eq!(decode(id, &encode(&session).unwrap()).unwrap(), session);
        }
    }
}
