//! The check of all rows in steps: what the thread that runs it tells an engine, and what an engine gives it. Types only.

/// How far a check of all rows has come, in an order of the engine's own.
#[derive(Clone, Debug, Default)]
pub struct RowPosition {
    /// The table.
    pub table: usize,
    /// Behind this key of it the next step begins.
    pub after: Option<Vec<u8>>,
}

/// What a step of the check of all rows has found.
#[derive(Debug, Default)]
pub struct RowsChecked {
    /// How many rows.
    pub rows: u64,
    /// The names of those that are damaged.
    pub damaged: Vec<String>,
    /// Where the next step begins; none: those were all.
    pub next: Option<RowPosition>,
}
