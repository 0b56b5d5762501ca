//! What a snapshot shows, and what a list need not read.

use std::time::Duration;

use redb::Database;

use crate::storage::DATABASE_FILE;
use crate::storage::redb::view::*;
use crate::storage::test_store::{OWN, close, open, publish, subscribe};

const DAY: Duration = Duration::from_hours(24);

#[test]
fn what_is_read_of_one_snapshot_fits_together_whatever_is_committed_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), DAY);
    let before = store.reader.view();
    let subscription = subscribe(&store);
    let event = publish(&store);
    let delivery = DeliveryId { event, subscription };
    let after = store.reader.view();
    for (snapshot, is_there) in [(&before, false), (&after, true)] {
        assert_eq!(snapshot.registry().subscription(subscription).is_some(), is_there);
        assert_eq!(snapshot.event(OWN, event).unwrap().is_some(), is_there);
        assert_eq!(snapshot.delivery(delivery).unwrap().is_some(), is_there);
        assert_eq!(snapshot.backlog().unwrap().pending.unattempted, u64::from(is_there));
    }
    drop((before, after));
    close(store);
}

#[test]
fn a_list_of_what_is_pending_reads_nothing_of_what_has_arrived() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), DAY);
    let subscription = subscribe(&store);
    let pending = publish(&store);
    close(store);
    // A row that cannot be read, in the place of one that has arrived.
    let db = Database::open(folder.path().join(DATABASE_FILE)).unwrap();
    let mut transaction = db.begin_write().unwrap();
    transaction.set_two_phase_commit(true);
    let arrived = (subscription.0, pending.0 - 1);
    transaction.open_table(tables::DELIVERIES).unwrap().insert(arrived, [0xff].as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(db);

    let store = open(folder.path(), DAY);
    let list = |status| {
        let filter = DeliveryFilter { subscriptions: vec![subscription], status, ..DeliveryFilter::default() };
        let page = store.reader.view().deliveries(&filter, PageRequest { limit: 10, offset: 0, after: None })?;
        Ok::<_, StorageError>(page.items.into_iter().map(|(id, _)| id.event).collect::<Vec<_>>())
    };
    assert_eq!(list(Some(PENDING)).unwrap(), [pending]);
    assert!(list(Some("delivered")).is_err(), "the row can be read");
    close(store);
}
