//! What a snapshot shows, and what a list need not read.

use std::time::Duration;

use redb::{Database, ReadableTable as _};

use crate::storage::DATABASE_FILE;
use crate::storage::redb::retained;
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
    let (arrived, pending) = (publish(&store), publish(&store));
    close(store);
    // A row that cannot be read, in the place of one that has arrived.
    let db = Database::open(folder.path().join(DATABASE_FILE)).unwrap();
    let mut transaction = db.begin_write().unwrap();
    transaction.set_two_phase_commit(true);
    transaction
        .open_table(tables::OUTCOMES)
        .unwrap()
        .insert((1, arrived.0, subscription.0), [0xff].as_slice())
        .unwrap();
    transaction.open_table(tables::OUTBOX).unwrap().remove((subscription.0, 0, arrived.0)).unwrap();
    transaction.commit().unwrap();
    drop(db);

    let store = open(folder.path(), DAY);
    let list = |status| {
        let filter = DeliveryFilter { status, ..DeliveryFilter::of(OWN, vec![subscription]) };
        let page = store.reader.view().deliveries(&filter, PageRequest { limit: 10, offset: 0, after: None })?;
        Ok::<_, StorageError>(page.items.into_iter().map(|(id, _)| id.event).collect::<Vec<_>>())
    };
    assert_eq!(list(Some(PENDING)).unwrap(), [pending]);
    assert!(list(None).is_err(), "the row can be read");
    close(store);
}

/// Changes a closed database.
fn change(folder: &std::path::Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let db = Database::open(folder.join(DATABASE_FILE)).unwrap();
    let mut transaction = db.begin_write().unwrap();
    transaction.set_two_phase_commit(true);
    change(&transaction);
    transaction.commit().unwrap();
}

fn faults(folder: &std::path::Path) -> Vec<String> {
    let db = Database::open(folder.join(DATABASE_FILE)).unwrap();
    crate::storage::redb::copy::verify::rows(&db).unwrap().faults
}

#[test]
fn a_damaged_event_fails_the_read_of_itself_by_name_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), DAY);
    let subscription = subscribe(&store);
    let (damaged, sound) = (publish(&store), publish(&store));
    close(store);
    change(folder.path(), |transaction| {
        let mut events = transaction.open_table(tables::EVENTS).unwrap();
        let mut row = events.get((1, damaged.0)).unwrap().unwrap().value().to_vec();
        let last = row.len() - 8;
        row[last] ^= 1;
        events.insert((1, damaged.0), row.as_slice()).unwrap();
    });
    let named = |said: &str| assert!(said.contains(&damaged.to_string()) && said.contains("digest"), "{said}");
    named(&faults(folder.path())[0]);
    let store = open(folder.path(), DAY);
    let view = store.reader.view();
    named(&view.event(OWN, damaged).unwrap_err().to_string());
    assert!(view.event(OWN, sound).unwrap().is_some());
    let page = PageRequest { limit: 1, offset: 0, after: None };
    assert_eq!(view.events(OWN, EventFilter::default(), page).unwrap().items[0].0, sound);
    // Both are sent, and the attempt of the damaged one says why it fails.
    let pending = view.unattempted_after(subscription, None, 10, 1 << 20).unwrap();
    assert_eq!(
        pending.iter().map(|pending| (pending.event, pending.content.is_some())).collect::<Vec<_>>(),
        [(damaged, false), (sound, true)]
    );
    drop(view);
    close(store);
}

#[test]
fn an_outcome_without_its_event_and_a_front_beyond_the_end_are_named_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), DAY);
    let subscription = subscribe(&store);
    let pending = publish(&store);
    close(store);
    let nobodys = EventId(pending.0 - 1);
    change(folder.path(), |transaction| {
        let key = (1, nobodys.0, subscription.0);
        let delivery = Delivery::unattempted(crate::domain::event::event_type::EventType::ClockIn, nobodys.time());
        let row = tables::seal::<OutcomeKey>(key, delivery_record::encode(&delivery).unwrap());
        transaction.open_table(tables::OUTCOMES).unwrap().insert(key, row.as_slice()).unwrap();
        let beyond = EventId::first_at(pending.time().plus(2 * DAY));
        let front = crate::storage::engine::Front { events: beyond, ..Default::default() };
        crate::storage::redb::retained::RetentionWriter::open(transaction).unwrap().put_front(OWN, front).unwrap();
    });
    let found = faults(folder.path());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("after all events"), "{found:?}");
    assert!(found[1].contains(&nobodys.to_string()[4..]) && found[1].contains("its event is missing"), "{found:?}");
    let store = open(folder.path(), DAY);
    let view = store.reader.view();
    assert!(view.delivery(DeliveryId { event: nobodys, subscription }).unwrap().is_none());
    let all = DeliveryFilter::of(OWN, vec![subscription]);
    let listed = view.deliveries(&all, PageRequest { limit: 10, offset: 0, after: None }).unwrap();
    assert_eq!((listed.items.len(), listed.total, listed.items[0].0.event), (1, 1, pending));
    drop(view);
    close(store);
}

#[test]
fn a_damaged_list_of_receivers_fails_what_needs_it_by_name_and_holds_up_no_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), DAY);
    let [subscription, other] = [(); 2].map(|()| subscribe(&store));
    let events = [(); 2].map(|()| publish(&store));
    close(store);
    retained::testing::damage(&folder.path().join(DATABASE_FILE), tables::RECEIVER_SETS);
    let store = open(folder.path(), DAY);
    let view = store.reader.view();
    let said = view.event(OWN, events[0]).unwrap_err().to_string();
    assert!(said.contains("receiver set 1"), "{said}");
    for of in [subscription, other] {
        let pending = view.unattempted_after(of, None, 10, 1 << 20).unwrap();
        assert_eq!(pending.iter().map(|pending| pending.event).collect::<Vec<_>>(), events);
        assert!(pending.iter().all(|pending| pending.content.as_ref().is_some_and(|content| content.is_intact())));
        let filter = DeliveryFilter { status: Some(PENDING), ..DeliveryFilter::of(OWN, vec![of]) };
        let page = view.deliveries(&filter, PageRequest { limit: 10, offset: 0, after: None }).unwrap();
        assert_eq!(page.items.len(), 2);
    }
    for event in events {
        assert!(view.event_content(OWN, event).unwrap().is_some_and(|content| content.is_intact()));
        assert!(view.delivery(DeliveryId { event, subscription }).unwrap().unwrap().state.is_pending());
    }
    drop(view);
    close(store);
}
