//! The kept counts: one row for a page of subscriptions, so that an event that goes to a thousand of them changes a few rows.
//! Changes are gathered during a transaction and written once at its end.

use std::collections::BTreeMap;

use crate::domain::{AccountId, EventId, SubscriptionId};
use crate::storage::counts::{Counts, CountsRow, Kind};
use crate::storage::engine::{Front, Pending};
use crate::storage::error::StorageError;
use crate::storage::postgres::rows::{Rows, Walk};
use crate::storage::postgres::stored::{VERSION, delivery_in, state_of};
use crate::storage::postgres::tables::{COUNTS, FRONTS, Key, OUTCOMES, Order, Part, SUBSCRIPTIONS, Span, key};
use crate::storage::postgres::writing::Writing;
use crate::storage::rows::{codec, digest};

type Result<T> = std::result::Result<T, StorageError>;

/// (account, subscription), or 0 for the whole account.
type Place = (u32, u32);

const WHOLE_ACCOUNT: u32 = 0;
/// Subscriptions of one page, by number.
const PAGE: u32 = 64;

/// The counts of a page that are not all zero, by subscription.
type Page = BTreeMap<u32, Counts>;

fn place(account: AccountId, subscription: Option<SubscriptionId>) -> Place {
    (account.0, subscription.map_or(WHOLE_ACCOUNT, |id| id.0))
}

fn page_key((account, subscription): Place) -> (Key, u32) {
    let first = subscription - subscription % PAGE;
    (key![account, first], first)
}

fn page(rows: &dyn Rows, at: &Key, first: u32) -> Result<Page> {
    rows.get(&COUNTS, at)?.map_or_else(|| Ok(Page::new()), |row| read_page(at, first, &row))
}

fn read_page(at: &Key, first: u32, row: &[u8]) -> Result<Page> {
    let row = COUNTS.open(at, row, || format!("the counts of subscriptions from {first} on"))?;
    let page: Vec<(u8, CountsRow)> = codec::decode(VERSION, row)?;
    Ok(page.into_iter().map(|(place, row)| (first.saturating_add(place.into()), Counts::from_row(row))).collect())
}

/// How far retention has come in an account.
pub(super) fn front(account: AccountId, row: &[u8]) -> Result<Front> {
    let name = digest::named("retention front of account", account);
    let row = FRONTS.open(&key![account.0], row, name)?;
    let (events, attempts, removing): (u128, u128, Option<u128>) = codec::decode(VERSION, row)?;
    Ok(Front { events: EventId(events), attempts: EventId(attempts), removing: removing.map(EventId) })
}

/// The counts of an account, or of one of its subscriptions.
pub(super) fn read(rows: &dyn Rows, account: AccountId, subscription: Option<SubscriptionId>) -> Result<Counts> {
    let place = place(account, subscription);
    let (at, first) = page_key(place);
    let mut counts = page(rows, &at, first)?.get(&place.1).copied().unwrap_or_default();
    // An event is removed before its outcomes, which are counted until they are gone and listed no more.
    let front = rows.get(&FRONTS, &key![account.0])?.and_then(|row| front(account, &row).ok()).unwrap_or_default();
    let Some(EventId(event)) = front.removing else { return Ok(counts) };
    let (first, last) = subscription.map_or((0, u32::MAX), |id| (id.0, id.0));
    let span = Span::of(key![account.0, event, first], key![account.0, event, last]);
    for row in Walk::over(rows, &OUTCOMES, span, Order::Rising) {
        let (at, row) = row?;
        let id = delivery_in(&at);
        // Those of a deleted subscription are not counted.
        if rows.get(&SUBSCRIPTIONS, &key![id.subscription.0])?.is_some()
            && let Ok(state) = state_of(account, id, &row)
        {
            counts.add(Kind::of(state), -1);
        }
    }
    Ok(counts)
}

/// How many deliveries are pending in all; none if a count cannot be read.
pub(super) fn pending(rows: &dyn Rows) -> Result<Option<Pending>> {
    let mut pending = Pending::default();
    for row in Walk::over(rows, &COUNTS, COUNTS.all(), Order::Rising) {
        let (at, row) = row?;
        let first = at.last().map(Part::number).unwrap_or_default();
        match read_page(&at, first, &row) {
            Ok(page) => {
                if let Some(of_account) = page.get(&WHOLE_ACCOUNT) {
                    pending.add(of_account.pending());
                }
            }
            Err(error) => {
                log::error!("{error}");
                return Ok(None);
            }
        }
    }
    Ok(Some(pending))
}

/// What a transaction counts.
#[derive(Default)]
pub(super) struct CountsWriter(BTreeMap<Place, Counts>);

impl CountsWriter {
    /// Counts so many more events of an account, or less.
    pub fn add_events(&mut self, account: AccountId, more: i64) {
        self.0.entry(place(account, None)).or_default().events += more;
    }

    /// Counts an event that did not fit the filter of a subscription.
    pub fn add_filtered(&mut self, account: AccountId, subscription: SubscriptionId) {
        self.0.entry(place(account, Some(subscription))).or_default().events += 1;
    }

    /// Counts so many more deliveries of a kind, or less.
    pub fn add(&mut self, account: AccountId, subscription: SubscriptionId, kind: Kind, more: i64) {
        for place in [place(account, None), place(account, Some(subscription))] {
            self.0.entry(place).or_default().add(kind, more);
        }
    }

    /// Forgets the counts of a deleted subscription. Gives them.
    pub fn remove(&mut self, rows: &Writing, account: AccountId, subscription: SubscriptionId) -> Result<Counts> {
        let place = place(account, Some(subscription));
        let (at, first) = page_key(place);
        let mut page = stored(rows, &at, first)?;
        let mut gone = page.remove(&place.1).unwrap_or_default();
        gone.merge(&self.0.remove(&place).unwrap_or_default(), 1);
        // They were counted for the subscription alone.
        gone.events = 0;
        put(rows, at, first, &page)?;
        self.0.entry((account.0, WHOLE_ACCOUNT)).or_default().merge(&gone, -1);
        Ok(gone)
    }

    /// Writes the changes.
    pub fn finish(self, rows: &Writing) -> Result<()> {
        let mut changes = self.0.into_iter().peekable();
        while let Some((place, _)) = changes.peek() {
            let account = place.0;
            let (at, first) = page_key(*place);
            let mut page = stored(rows, &at, first)?;
            let before = page.clone();
            let is_here = |place: &Place| place.0 == account && page_key(*place).1 == first;
            while let Some(((_, subscription), change)) = changes.next_if(|(place, _)| is_here(place)) {
                page.entry(subscription).or_default().merge(&change, 1);
            }
            if page != before {
                put(rows, at, first, &page)?;
            }
        }
        Ok(())
    }
}

/// A damaged page is logged and begins anew: a figure that is wrong must not end the server.
fn stored(rows: &Writing, at: &Key, first: u32) -> Result<Page> {
    match page(rows, at, first) {
        Err(error @ (StorageError::Damaged(_) | StorageError::Codec(_))) => {
            log::error!("{error}");
            Ok(Page::new())
        }
        page => page,
    }
}

fn put(rows: &Writing, at: Key, first: u32, page: &Page) -> Result<()> {
    let used = page.iter().filter(|(_, counts)| **counts != Counts::default());
    let used: Vec<(u8, CountsRow)> = used
        .filter_map(|(subscription, counts)| Some((u8::try_from(subscription - first).ok()?, counts.to_row())))
        .collect();
    if used.is_empty() {
        rows.remove(&COUNTS, at);
    } else {
        rows.put(&COUNTS, at, codec::encode(VERSION, &used)?);
    }
    Ok(())
}
