//! Pages of lists, and how one is collected from a list that is read whole. Pure; any thread.

use crate::storage::error::StorageError;

/// A request for a page of a list.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<C> {
    /// Maximum number of items.
    pub limit: usize,
    /// Number of items to skip.
    pub offset: usize,
    /// Only items after this one, in list order.
    pub after: Option<C>,
}

/// A page ends after so many bytes of rows, if it has one at least, as events can be long.
pub const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Number of items in the whole list.
    pub total: usize,
    /// Whether there are more items.
    pub has_more: bool,
}

/// Collects a page from a whole list, newest first.
pub(in crate::storage) struct Collector<T> {
    limit: usize,
    offset: usize,
    bytes_left: usize,
    pub(in crate::storage) page: Page<T>,
}

impl<T> Collector<T> {
    /// An empty page.
    pub fn new<C>(request: &PageRequest<C>) -> Self {
        let page = Page { items: Vec::new(), total: 0, has_more: false };
        Self { limit: request.limit, offset: request.offset, bytes_left: PAGE_BYTES, page }
    }

    /// Counts an item of so many bytes, and keeps it if it lies on the page.
    pub fn offer(
        &mut self,
        is_after: bool,
        bytes: usize,
        item: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<(), StorageError> {
        self.page.total += 1;
        if !is_after {
            return Ok(());
        }
        if self.offset > 0 {
            self.offset -= 1;
        } else if self.has_room(bytes) {
            self.bytes_left = self.bytes_left.saturating_sub(bytes);
            self.page.items.push(item()?);
        } else {
            self.page.has_more = true;
        }
        Ok(())
    }

    /// An item that has none ends the page: a shorter one behind it must not come before it.
    fn has_room(&self, bytes: usize) -> bool {
        let Page { items, has_more, .. } = &self.page;
        !has_more && items.len() < self.limit && (bytes <= self.bytes_left || items.is_empty())
    }
}
