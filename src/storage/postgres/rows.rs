//! Rows of one moment, read by their keys: what a snapshot and the writer's transaction have in common. Belongs to whoever
//! has that.

use std::vec::IntoIter;

use crate::storage::error::StorageError;
use crate::storage::postgres::tables::{Key, Order, Span, Table};

type Result<T> = std::result::Result<T, StorageError>;

/// A row as it is stored.
pub(super) type Row = (Key, Vec<u8>);

/// The rows of one moment.
pub(super) trait Rows {
    /// The value at a key.
    fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Vec<u8>>>;
    /// The values at these keys, in the same order.
    fn get_some(&self, table: &'static Table, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>>;
    /// Up to so many rows of a span.
    fn scan(&self, table: &'static Table, span: &Span, order: Order, limit: usize) -> Result<Vec<Row>>;
}

/// Rows of the first page, and of any.
const FIRST_PAGE: usize = 16;
const PAGE: usize = 1024;
/// About so many bytes of rows are in memory at a time.
const PAGE_BYTES: usize = 1024 * 1024;

/// Walks over a span, page by page.
pub(super) struct Walk<'a> {
    rows: &'a dyn Rows,
    table: &'static Table,
    /// What is left of the span.
    span: Span,
    order: Order,
    page: IntoIter<Row>,
    /// How many rows are read next; 0: there are no more.
    next: usize,
}

impl<'a> Walk<'a> {
    /// From the beginning of the span.
    pub fn over(rows: &'a dyn Rows, table: &'static Table, span: Span, order: Order) -> Self {
        let next = if span.is_empty() { 0 } else { FIRST_PAGE };
        Self { rows, table, span, order, page: Vec::new().into_iter(), next }
    }

    /// The next page; an empty one at the end.
    pub fn next_page(&mut self) -> Result<Vec<Row>> {
        if self.next == 0 {
            return Ok(Vec::new());
        }
        let page = self.rows.scan(self.table, &self.span, self.order, self.next)?;
        let is_last = page.len() < self.next;
        if let Some((last, _)) = page.last() {
            match self.order {
                Order::Rising => self.span = Span { from: last.clone(), is_behind: true, ..self.span.clone() },
                Order::Falling => self.span = Span { to: last.clone(), is_before: true, ..self.span.clone() },
            }
        }
        let bytes: usize = page.iter().map(|(_, value)| value.len() + 64).sum();
        let average = bytes / page.len().max(1) + 1;
        self.next = if is_last { 0 } else { (PAGE_BYTES / average).clamp(FIRST_PAGE, PAGE) };
        Ok(page)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.page.next() {
            return Some(Ok(row));
        }
        match self.next_page() {
            Ok(page) => {
                self.page = page.into_iter();
                self.page.next().map(Ok)
            }
            Err(error) => {
                self.next = 0;
                Some(Err(error))
            }
        }
    }
}
