//! The stored form of an alert that waits to be handed over. Pure; any thread. A stored struct never changes: another shape
//! is another version.

use serde::{Deserialize, Serialize};

use crate::domain::alert::{Alert, AlertEndpoint, AlertKind, Notice};
use crate::domain::{EventId, SubscriptionId};
use crate::storage::error::StorageError;
use crate::storage::rows::codec;
use crate::storage::rows::record::damaged;

const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct NoticeRow {
    kind: String,
    endpoint: Option<(String, u32, String)>,
    message: String,
    done: Vec<String>,
}

/// The stored form; the id is its key.
pub fn encode(notice: &Notice) -> Result<Vec<u8>, StorageError> {
    let endpoint = notice.alert.endpoint.as_ref();
    codec::encode(
        VERSION,
        &NoticeRow {
            kind: notice.alert.kind.name().to_owned(),
            endpoint: endpoint.map(|found| (found.account.clone(), found.subscription.0, found.host.clone())),
            message: notice.alert.message.clone(),
            done: notice.done.clone(),
        },
    )
}

/// Reads the stored form.
pub fn decode(id: EventId, bytes: &[u8]) -> Result<Notice, StorageError> {
    let row: NoticeRow = codec::decode(VERSION, bytes)?;
    let kind = AlertKind::from_name(&row.kind).ok_or_else(|| damaged("alert"))?;
    let endpoint = row.endpoint.map(|(account, subscription, host)| AlertEndpoint {
        account,
        subscription: SubscriptionId(subscription),
        host,
    });
    Ok(Notice { alert: Alert { id, kind, endpoint, message: row.message }, done: row.done })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_read_as_it_was_stored() {
        for kind in AlertKind::ALL {
            let endpoint =
                AlertEndpoint { account: "acme".to_owned(), subscription: SubscriptionId(4), host: "h".to_owned() };
            let endpoint = kind.is_state().then_some(endpoint);
            let alert = Alert { id: EventId(7), kind, endpoint, message: "down".to_owned() };
            let notice = Notice { alert, done: vec!["webhook".to_owned()] };
            assert_eq!(decode(EventId(7), &encode(&notice).unwrap()).unwrap(), notice);
        }
    }
}
