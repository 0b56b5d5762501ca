//! The tables: their keys, the order of those, and the few statements that there are for each. Constants and texts; any
//! thread.

use std::sync::OnceLock;

use crate::storage::error::StorageError;
use crate::storage::rows::digest;

/// What a column of a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Kind {
    /// A number, as `int8`.
    Int,
    /// 128 bits, as `uuid`, which is ordered as the number.
    Id,
    /// A short text, ordered by its bytes.
    Text,
}

/// What stands in a column of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::storage) enum Part {
    /// Of [`Kind::Int`].
    Int(i64),
    /// Of [`Kind::Id`].
    Id(u128),
    /// Of [`Kind::Text`].
    Text(String),
}

impl From<u32> for Part {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<i64> for Part {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u128> for Part {
    fn from(id: u128) -> Self {
        Self::Id(id)
    }
}

impl From<&str> for Part {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Part {
    /// The number; 0 if it is none.
    pub fn int(&self) -> i64 {
        if let Self::Int(number) = self { *number } else { 0 }
    }

    /// The number of an account, a subscription or the like.
    pub fn number(&self) -> u32 {
        u32::try_from(self.int()).unwrap_or_default()
    }

    /// The id; 0 if it is none.
    pub fn id(&self) -> u128 {
        if let Self::Id(id) = self { *id } else { 0 }
    }
}

/// A whole key.
pub(in crate::storage) type Key = Vec<Part>;

/// A key from its parts.
macro_rules! key {
    ($($part:expr),+ $(,)?) => { vec![$($crate::storage::postgres::tables::Part::from($part)),+] };
}
pub(in crate::storage) use key;

/// Two ends of keys, both included.
#[derive(Clone, Debug)]
pub(in crate::storage) struct Span {
    /// The first.
    pub from: Key,
    /// The last.
    pub to: Key,
    /// Leave out the first itself.
    pub is_behind: bool,
    /// Leave out the last itself.
    pub is_before: bool,
}

impl Span {
    /// From the first to the last.
    pub fn of(from: Key, to: Key) -> Self {
        Self { from, to, is_behind: false, is_before: false }
    }

    /// The same without the first.
    pub fn behind(self) -> Self {
        Self { is_behind: true, ..self }
    }

    /// The same without the last.
    pub fn before(self) -> Self {
        Self { is_before: true, ..self }
    }

    /// Whether a key lies between.
    pub fn has(&self, key: &Key) -> bool {
        let after = if self.is_behind { *key > self.from } else { *key >= self.from };
        after && if self.is_before { *key < self.to } else { *key <= self.to }
    }

    /// Whether nothing can lie between.
    pub fn is_empty(&self) -> bool {
        self.from > self.to || (self.from == self.to && (self.is_behind || self.is_before))
    }
}

/// In which order rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Order {
    /// The least key first.
    Rising,
    /// The greatest first.
    Falling,
}

/// A table.
pub(in crate::storage) struct Table {
    /// Its place in [`ALL`].
    pub place: usize,
    /// Its name.
    pub name: &'static str,
    /// The columns of its key.
    pub columns: &'static [(&'static str, Kind)],
    statements: OnceLock<Statements>,
}

/// The statements for a table.
pub(in crate::storage) struct Statements {
    /// The value at a key.
    pub get: String,
    /// The values at some keys, each with the place of its key from 1 on.
    pub get_some: String,
    /// Stores rows.
    pub put: String,
    /// Removes rows.
    pub remove: String,
}

impl Table {
    const fn new(place: usize, name: &'static str, columns: &'static [(&'static str, Kind)]) -> Self {
        Self { place, name, columns, statements: OnceLock::new() }
    }

    /// All rows whose key begins with that.
    pub fn with_prefix(&self, prefix: Key) -> Span {
        let rest = self.columns.get(prefix.len()..).unwrap_or_default();
        let (mut from, mut to) = (prefix.clone(), prefix);
        for (_, kind) in rest {
            let (least, greatest) = match kind {
                Kind::Int => (Part::Int(i64::MIN), Part::Int(i64::MAX)),
                Kind::Id => (Part::Id(0), Part::Id(u128::MAX)),
                Kind::Text => (Part::Text(String::new()), Part::Text(char::MAX.to_string())),
            };
            from.push(least);
            to.push(greatest);
        }
        Span::of(from, to)
    }

    /// All rows.
    pub fn all(&self) -> Span {
        self.with_prefix(Vec::new())
    }

    /// The row as it is stored at that key.
    pub fn seal(&self, key: &Key, row: Vec<u8>) -> Vec<u8> {
        digest::sealed(&self.place_of(key), row)
    }

    /// What is stored at that key as the row that it was; an error names it.
    pub fn open<'a>(&self, key: &Key, row: &'a [u8], name: impl FnOnce() -> String) -> Result<&'a [u8], StorageError> {
        digest::checked(&self.place_of(key), row, name)
    }

    /// What stands for a place: the table and the key.
    fn place_of(&self, key: &Key) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(self.name.as_bytes());
        for part in key {
            match part {
                Part::Int(number) => bytes.extend_from_slice(&number.to_be_bytes()),
                Part::Id(id) => bytes.extend_from_slice(&id.to_be_bytes()),
                Part::Text(text) => bytes.extend_from_slice(text.as_bytes()),
            }
        }
        bytes
    }

    /// Its statements.
    pub fn statements(&self) -> &Statements {
        self.statements.get_or_init(|| self.write())
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    fn write(&self) -> Statements {
        let (table, names) = (self.name, self.names());
        let equal: Vec<_> =
            self.columns.iter().zip(1..).map(|((name, _), number)| format!("{name} = ${number}")).collect();
        let matching: Vec<_> = self.columns.iter().map(|(name, _)| format!("t.{name} = k.{name}")).collect();
        let arrays: Vec<_> =
            self.columns.iter().zip(1..).map(|((_, kind), number)| format!("${number}::{}[]", kind.sql())).collect();
        let (equal, matching, arrays) = (equal.join(" AND "), matching.join(" AND "), arrays.join(", "));
        let value = self.columns.len() + 1;
        Statements {
            get: format!("SELECT value FROM {table} WHERE {equal}"),
            get_some: format!(
                "SELECT k.place, f.value FROM unnest({arrays}) WITH ORDINALITY AS k({names}, place) \
                 CROSS JOIN LATERAL (SELECT t.value FROM {table} t WHERE {matching} LIMIT 1) f"
            ),
            put: format!(
                "INSERT INTO {table} ({names}, value) SELECT * FROM unnest({arrays}, ${value}::bytea[]) \
                 ON CONFLICT ({names}) DO UPDATE SET value = excluded.value"
            ),
            // Look-ups one by one, whatever the planner knows of the table: it may have been empty when it looked.
            remove: format!(
                "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT f.place FROM unnest({arrays}) AS k({names}) \
                 CROSS JOIN LATERAL (SELECT t.ctid AS place FROM {table} t WHERE {matching} LIMIT 1) f))"
            ),
        }
    }

    /// Reads the rows of a span: as many parameters as the key has columns for the first, as many for the last, and how many
    /// rows.
    pub fn scan(&self, span: &Span, order: Order) -> String {
        let (table, names, count) = (self.name, self.names(), self.columns.len());
        let placeholders = |from: usize| {
            let numbers: Vec<_> = (from..from + count).map(|number| format!("${number}")).collect();
            numbers.join(", ")
        };
        let direction = match order {
            Order::Rising => "",
            Order::Falling => " DESC",
        };
        let sorted: Vec<_> = self.columns.iter().map(|(name, _)| format!("{name}{direction}")).collect();
        let first = if span.is_behind { ">" } else { ">=" };
        let last = if span.is_before { "<" } else { "<=" };
        format!(
            "SELECT {names}, value FROM {table} WHERE ({names}) {first} ({}) AND ({names}) {last} ({}) \
             ORDER BY {} LIMIT ${}",
            placeholders(1),
            placeholders(count + 1),
            sorted.join(", "),
            2 * count + 1,
        )
    }

    /// Creates it.
    pub fn definition(&self) -> String {
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|(name, kind)| {
                let order = if *kind == Kind::Text { " COLLATE \"C\"" } else { "" };
                format!("{name} {}{order} NOT NULL", kind.sql())
            })
            .collect();
        // Dead rows are removed early, and a row that is written anew finds room on its page.
        format!(
            "CREATE TABLE {} ({}, value bytea NOT NULL, PRIMARY KEY ({})) WITH (fillfactor = 80, \
             autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0)",
            self.name,
            columns.join(", "),
            self.names()
        )
    }
}

impl Kind {
    fn sql(self) -> &'static str {
        match self {
            Self::Int => "int8",
            Self::Id => "uuid",
            Self::Text => "text",
        }
    }
}

use Kind::{Id, Int, Text};

const NUMBER: &[(&str, Kind)] = &[("number", Int)];
const OF_ACCOUNT: &[(&str, Kind)] = &[("account", Int), ("event", Id)];
const OF_SUBSCRIPTION: &[(&str, Kind)] = &[("subscription", Int)];

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident $name:literal $columns:expr;)+) => {
        tables!(@ 0; []; $($(#[$doc])* $table $name $columns;)+);
    };
    (@ $place:expr; [$($all:ident)*]; $(#[$doc:meta])* $table:ident $name:literal $columns:expr; $($rest:tt)*) => {
        $(#[$doc])*
        pub(in crate::storage) static $table: Table = Table::new($place, $name, $columns);
        tables!(@ $place + 1; [$($all)* $table]; $($rest)*);
    };
    (@ $place:expr; [$($all:ident)*];) => {
        /// How many tables there are.
        pub(in crate::storage) const COUNT: usize = $place;
        /// Every table.
        pub(in crate::storage) static ALL: [&Table; COUNT] = [$(&$all),*];
    };
}

tables! {
    /// Next numbers and service time.
    META "meta" &[("name", Text)];
    /// Accounts.
    ACCOUNTS "accounts" NUMBER;
    /// API keys.
    KEYS "keys" NUMBER;
    /// Subscriptions.
    SUBSCRIPTIONS "subscriptions" NUMBER;
    /// Endpoint health and last attempts of a subscription.
    HISTORIES "histories" NUMBER;
    /// Events with their bodies.
    EVENTS "events" OF_ACCOUNT;
    /// The tags of events that have any.
    TAGS "tags" OF_ACCOUNT;
    /// Sets of subscriptions that events go to.
    RECEIVER_SETS "receiver_sets" NUMBER;
    /// Their numbers by a digest of the members.
    RECEIVER_SET_NUMBERS "receiver_set_numbers" &[("digest", Id)];
    /// How many events go to each.
    RECEIVER_SET_USES "receiver_set_uses" NUMBER;
    /// What idempotency keys were used for.
    IDEMPOTENCY "idempotency" &[("account", Int), ("digest", Id)];
    /// Pending deliveries.
    OUTBOX "outbox" &[("subscription", Int), ("due", Int), ("event", Id)];
    /// Deliveries with attempts.
    OUTCOMES "outcomes" &[("account", Int), ("event", Id), ("subscription", Int)];
    /// Kept counts, by the first subscription of a page.
    COUNTS "counts" &[("account", Int), ("page", Int)];
    /// How far retention has come.
    FRONTS "fronts" &[("account", Int)];
    /// What it has passed over.
    KEPT "kept" OF_ACCOUNT;
    /// What it comes back to.
    DUE "retention_due" &[("kind", Int), ("settled", Int), ("account", Int), ("event", Id), ("subscription", Int)];
    /// Deleted subscriptions with rows that are left.
    PURGES "purges" OF_SUBSCRIPTION;
    /// Jobs.
    JOBS "jobs" &[("account", Int), ("job", Id)];
    /// Who changed what.
    AUDIT "audit" &[("account", Int), ("record", Id)];
    /// Sessions of the dashboard.
    SESSIONS "sessions" &[("digest", Id)];
    /// What waits for the one before it of its order key.
    ORDERS "orders" &[("subscription", Int), ("order_key", Int), ("event", Id)];
    /// Batches with their members.
    BATCHES "batches" &[("subscription", Int), ("batch", Id), ("event", Id)];
    /// Alerts that wait.
    NOTICES "notices" &[("alert", Id)];
    /// What was told, and when.
    TOLD "told" &[("subject", Text)];
    /// The find index.
    FIND "find" &[("digest", Int), ("event", Id)];
    /// The last event in it of each account.
    FIND_POSITIONS "find_positions" &[("account", Int)];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_knows_its_place() {
        for (place, table) in ALL.iter().enumerate() {
            assert_eq!(table.place, place, "{}", table.name);
        }
    }

    #[test]
    fn a_span_ends_where_it_says() {
        let span = OUTBOX.with_prefix(key![7_u32, 0_i64]);
        assert!(span.has(&key![7_u32, 0_i64, 0_u128]) && span.has(&key![7_u32, 0_i64, u128::MAX]));
        assert!(!span.has(&key![7_u32, 1_i64, 0_u128]) && !span.has(&key![8_u32, 0_i64, 0_u128]));
        let behind = Span::of(key![1_u32], key![3_u32]).behind().before();
        assert!(!behind.has(&key![1_u32]) && behind.has(&key![2_u32]) && !behind.has(&key![3_u32]));
        assert!(
            Span::of(key![1_u32], key![1_u32]).behind().is_empty() && Span::of(key![2_u32], key![1_u32]).is_empty()
        );
    }

    #[test]
    fn a_row_is_known_to_lie_in_its_own_place() {
        let sealed = EVENTS.seal(&key![1_u32, 5_u128], vec![1, 2]);
        let name = || "event".to_owned();
        assert_eq!(EVENTS.open(&key![1_u32, 5_u128], &sealed, name).unwrap(), [1, 2]);
        assert!(EVENTS.open(&key![1_u32, 6_u128], &sealed, name).is_err());
        assert!(TAGS.open(&key![1_u32, 5_u128], &sealed, name).is_err());
    }
}
