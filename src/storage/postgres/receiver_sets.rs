//! The writer's sets of subscriptions that events go to. Equal lists are stored once and found by their digest; one that no
//! event goes to any more is removed. Lives in the writer's transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::SubscriptionId;
use crate::domain::event::content;
use crate::storage::error::StorageError;
use crate::storage::postgres::rows::Rows as _;
use crate::storage::postgres::stored::VERSION;
use crate::storage::postgres::tables::{Order, Part, RECEIVER_SET_NUMBERS, RECEIVER_SET_USES, RECEIVER_SETS, key};
use crate::storage::postgres::writing::Writing;
use crate::storage::rows::{codec, digest, record};

type Result<T> = std::result::Result<T, StorageError>;

/// What becomes of the sets in a transaction.
#[derive(Default)]
pub(super) struct SetWriter {
    /// How many events more go to a set, or less.
    changes: BTreeMap<u32, i64>,
    last: Option<(Arc<[SubscriptionId]>, u32)>,
}

impl SetWriter {
    /// The number of a set for one more event; stores the set if it is new. The members are sorted.
    pub fn take(&mut self, rows: &Writing, members: &Arc<[SubscriptionId]>) -> Result<u32> {
        debug_assert!(members.is_sorted(), "{members:?}");
        if members.is_empty() {
            return Ok(0);
        }
        let number = match &self.last {
            Some((last, number)) if last == members => *number,
            _ => number(rows, members)?,
        };
        self.last = Some((Arc::clone(members), number));
        *self.changes.entry(number).or_default() += 1;
        Ok(number)
    }

    /// An event of that set is removed.
    pub fn release(&mut self, number: u32) {
        if number != 0 {
            *self.changes.entry(number).or_default() -= 1;
        }
    }

    /// Writes how many events go to the sets that were touched, and removes those without any.
    pub fn finish(self, rows: &Writing) -> Result<()> {
        for (number, change) in self.changes {
            let at = key![number];
            let before = rows.get(&RECEIVER_SET_USES, &at)?.map_or(Ok(0), |row| {
                let name = digest::named("uses of receiver set", number);
                codec::decode(VERSION, RECEIVER_SET_USES.open(&at, &row, name)?)
            });
            // With a damaged number the set stays for good.
            let before: u64 = before.inspect_err(|error| log::error!("{error}")).unwrap_or(u64::MAX / 2);
            let uses = before.saturating_add_signed(change);
            if uses > 0 {
                rows.put(&RECEIVER_SET_USES, at, codec::encode(VERSION, &uses)?);
                continue;
            }
            rows.remove(&RECEIVER_SET_USES, at.clone());
            if let Some(row) = rows.take(&RECEIVER_SETS, at.clone())?
                && let Ok(row) = RECEIVER_SETS.open(&at, &row, digest::named("receiver set", number))
            {
                rows.remove(&RECEIVER_SET_NUMBERS, key![found_by(row)]);
            }
        }
        Ok(())
    }
}

/// What a list is found by.
fn found_by(row: &[u8]) -> u128 {
    u128::from_le_bytes(content::digest(row))
}

fn number(rows: &Writing, members: &[SubscriptionId]) -> Result<u32> {
    let row: Vec<u32> = members.iter().map(|id| id.0).collect();
    let row = codec::encode(VERSION, &row)?;
    let at = key![found_by(&row)];
    if let Some(found) = rows.get(&RECEIVER_SET_NUMBERS, &at)? {
        let name = || "the number of a receiver set".to_owned();
        // A damaged one is written anew.
        match RECEIVER_SET_NUMBERS.open(&at, &found, name).and_then(|row| codec::decode(VERSION, row)) {
            Ok(number) => return Ok(number),
            Err(error) => log::error!("{error}"),
        }
    }
    let last = rows.scan(&RECEIVER_SETS, &RECEIVER_SETS.all(), Order::Falling, 1)?;
    let last = last.first().and_then(|(at, _)| at.first()).map(Part::number).unwrap_or_default();
    let number = last.checked_add(1).ok_or_else(|| record::damaged("number of receiver sets"))?;
    rows.put(&RECEIVER_SETS, key![number], row);
    rows.put(&RECEIVER_SET_NUMBERS, at, codec::encode(VERSION, &number)?);
    Ok(number)
}
