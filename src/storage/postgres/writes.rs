//! What a transaction of the writer has written and not sent yet: the last value of each row, or that it is removed. Also
//! turns it into the statements that store it. Pure; lives in the transaction.

use std::collections::BTreeMap;
use std::ops::Bound;

use uuid::Uuid;

use crate::storage::postgres::connection::session::Value;
use crate::storage::postgres::rows::Row;
use crate::storage::postgres::tables::{ALL, COUNT, Key, Kind, Order, Part, Span, Table};

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// It has this value.
    Stored(Vec<u8>),
    /// There is none.
    Removed,
}

impl Last {
    /// Its value, if it has one.
    pub fn value(self) -> Option<Vec<u8>> {
        if let Self::Stored(value) = self { Some(value) } else { None }
    }
}

/// The changed rows of each table.
pub(super) struct Writes([BTreeMap<Key, Last>; COUNT]);

impl Default for Writes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| BTreeMap::new()))
    }
}

impl Writes {
    /// Notes what becomes of a row.
    pub fn set(&mut self, table: &Table, key: Key, last: Last) {
        if let Some(rows) = self.0.get_mut(table.place) {
            rows.insert(key, last);
        }
    }

    fn of(&self, table: &Table) -> &BTreeMap<Key, Last> {
        &self.0[table.place]
    }

    /// What was written at that key, if it was.
    pub fn get(&self, table: &Table, key: &Key) -> Option<&Last> {
        self.of(table).get(key)
    }

    fn within<'a>(&'a self, table: &Table, span: &'a Span) -> impl Iterator<Item = (&'a Key, &'a Last)> {
        let bounds = (Bound::Included(&span.from), Bound::Included(&span.to));
        let rows = if span.is_empty() { None } else { Some(self.of(table).range::<Key, _>(bounds)) };
        rows.into_iter().flatten().filter(|(key, _)| span.has(key))
    }

    /// How many rows of a span were changed.
    pub fn count(&self, table: &Table, span: &Span) -> usize {
        self.within(table, span).count()
    }

    /// What was stored, with the changes: `stored` has the first `limit` rows of the span and as many more as were changed
    /// in it.
    pub fn merge(&self, table: &Table, span: &Span, order: Order, limit: usize, stored: Vec<Row>) -> Vec<Row> {
        if self.count(table, span) == 0 {
            return stored;
        }
        let mut rows: BTreeMap<Key, Vec<u8>> = stored.into_iter().collect();
        for (key, value) in self.within(table, span) {
            match value {
                Last::Stored(value) => rows.insert(key.clone(), value.clone()),
                Last::Removed => rows.remove(key),
            };
        }
        match order {
            Order::Rising => rows.into_iter().take(limit).collect(),
            Order::Falling => rows.into_iter().rev().take(limit).collect(),
        }
    }

    /// The statements that store it: two for each table at most.
    pub fn statements(&self) -> Vec<(String, Vec<Value>)> {
        let mut statements = Vec::new();
        for table in ALL {
            let (mut put, mut values, mut removed) = (Vec::new(), Vec::new(), Vec::new());
            for (key, value) in self.of(table) {
                match value {
                    Last::Stored(value) => {
                        put.push(key);
                        values.push(value.clone());
                    }
                    Last::Removed => removed.push(key),
                }
            }
            if !removed.is_empty() {
                statements.push((table.statements().remove.clone(), columns(table, &removed)));
            }
            if !put.is_empty() {
                let mut columns = columns(table, &put);
                columns.push(Value::Rows(values));
                statements.push((table.statements().put.clone(), columns));
            }
        }
        statements
    }

    /// Every changed row.
    pub fn into_rows(self) -> impl Iterator<Item = (usize, Key, Last)> {
        let tables = self.0.into_iter().enumerate();
        tables.flat_map(|(place, rows)| rows.into_iter().map(move |(key, value)| (place, key, value)))
    }
}

/// Keys as the columns that statements take.
pub(super) fn columns(table: &Table, keys: &[&Key]) -> Vec<Value> {
    let column = |(index, (_, kind)): (usize, &(&str, Kind))| {
        let parts = keys.iter().filter_map(|key| key.get(index));
        match kind {
            Kind::Int => Value::Ints(parts.map(Part::int).collect()),
            Kind::Id => Value::Ids(parts.map(|part| Uuid::from_u128(part.id())).collect()),
            Kind::Text => Value::Texts(
                parts.map(|part| if let Part::Text(text) = part { text.clone() } else { String::new() }).collect(),
            ),
        }
    };
    table.columns.iter().enumerate().map(column).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::postgres::tables::{ACCOUNTS, key};

    proptest! {
        #[test]
        fn a_span_shows_what_is_stored_with_every_change(
            stored in prop::collection::btree_map(0..30_i64, any::<u8>(), 0..20),
            changes in prop::collection::btree_map(0..30_i64, prop::option::of(any::<u8>()), 0..20),
            (from, to, limit) in (0..30_i64, 0..30_i64, 1..12_usize),
            is_falling in any::<bool>(),
        ) {
            let order = if is_falling { Order::Falling } else { Order::Rising };
            let span = Span::of(key![from], key![to]);
            let mut writes = Writes::default();
            let mut all = stored.clone();
            for (id, value) in &changes {
                writes.set(&ACCOUNTS, key![*id], value.map_or(Last::Removed, |value| Last::Stored(vec![value])));
                match value {
                    Some(value) => all.insert(*id, *value),
                    None => all.remove(id),
                };
            }
            let sorted = |rows: Vec<(i64, u8)>, limit: usize| -> Vec<Row> {
                let of_span = rows.into_iter().filter(|(id, _)| (from..=to).contains(id));
                let mut rows: Vec<Row> = of_span.map(|(id, value)| (key![id], vec![value])).collect();
                if is_falling {
                    rows.reverse();
                }
                rows.truncate(limit);
                rows
            };
            let read = sorted(stored.into_iter().collect(), limit + writes.count(&ACCOUNTS, &span));
            let mut seen = writes.merge(&ACCOUNTS, &span, order, limit, read);
            seen.truncate(limit);
            prop_assert_eq!(seen, sorted(all.into_iter().collect(), limit));
        }
    }
}
