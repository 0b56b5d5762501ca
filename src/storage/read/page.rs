//! Pages of lists, newest first, and how one is collected: a call looks at a bounded number of rows, and ends early when
//! its time is over or nobody waits for it any more. Pure but for the clock; any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
/// Rows that one call looks at. Where its filters have not filled the page by then, the page is short, and the next one
/// goes on from there.
pub const LOOKED_AT_MAX: usize = 10_000;
/// Rows between two looks at the clock.
const ROWS_A_LOOK_AT_THE_CLOCK: usize = 64;

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<C, T> {
    /// The items with their ids.
    pub items: Vec<(C, T)>,
    /// Number of items in the whole list, or of those that were looked at.
    pub total: usize,
    /// Whether all were looked at, or counted otherwise.
    pub is_exact: bool,
    /// After which id the next page begins; none on the last one.
    pub next: Option<C>,
}

impl<C, T> Page<C, T> {
    /// The same page of what each item becomes.
    pub(in crate::storage) fn map<U>(self, of: impl Fn(T) -> U) -> Page<C, U> {
        let items = self.items.into_iter().map(|(id, item)| (id, of(item))).collect();
        Page { items, total: self.total, is_exact: self.is_exact, next: self.next }
    }
}

/// When a read that looks at many rows ends before it is done.
#[derive(Clone, Debug)]
pub struct ReadLimit {
    rows: usize,
    until: Option<Instant>,
    is_given_up: Arc<AtomicBool>,
}

/// Gives up the read when it is dropped: its caller has left, or has what it asked for.
pub struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Default for ReadLimit {
    /// No limit but the number of rows.
    fn default() -> Self {
        Self { rows: LOOKED_AT_MAX, until: None, is_given_up: Arc::default() }
    }
}

impl ReadLimit {
    /// The same for fewer rows.
    pub(in crate::storage) fn of_rows(&self, rows: usize) -> Self {
        Self { rows, ..self.clone() }
    }

    /// A limit that ends after that time, or when what is returned with it is dropped.
    #[must_use]
    pub fn after(time: Duration) -> (Self, GiveUp) {
        let is_given_up = Arc::new(AtomicBool::new(false));
        let until = Some(Instant::now() + time);
        (Self { rows: LOOKED_AT_MAX, until, is_given_up: Arc::clone(&is_given_up) }, GiveUp(is_given_up))
    }

    fn is_over(&self) -> bool {
        self.is_given_up.load(Ordering::Relaxed) || self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// A row of a list as it was found.
pub(in crate::storage) trait Found {
    /// What it is read as.
    type Item;

    /// Does it fit the filter? Decodes no more than that needs.
    fn is_wanted(&self) -> Result<bool, StorageError>;
    /// For how many rows it counts. More than one where its filter reads much of it.
    fn looks(&self) -> usize {
        1
    }
    /// How long it is.
    fn bytes(&self) -> usize;
    /// Reads it.
    fn item(&self) -> Result<Self::Item, StorageError>;
}

/// How much one call may still look at.
struct Looks<'a> {
    rows: usize,
    limit: &'a ReadLimit,
}

impl Looks<'_> {
    /// Whether one more row may be looked at. The first always may, so that each page leads further.
    fn has_one_more(&mut self) -> bool {
        let looked_at = self.limit.rows - self.rows;
        let asks_the_clock = looked_at > 0 && looked_at.is_multiple_of(ROWS_A_LOOK_AT_THE_CLOCK);
        if self.rows == 0 || (asks_the_clock && self.limit.is_over()) {
            return false;
        }
        self.rows -= 1;
        true
    }

    /// One that was looked at counts for more than one.
    fn spend_more(&mut self, found: &impl Found) {
        self.rows = self.rows.saturating_sub(found.looks().saturating_sub(1));
    }
}

/// Collects a page. `walk` gives the rows after an id, or all of them, newest first. With a known total of a list without
/// a filter, no more is looked at than the page.
pub(in crate::storage) fn collect<C: Copy + Ord, F: Found, I: Iterator<Item = Result<(C, F), StorageError>>>(
    request: PageRequest<C>,
    known: Option<usize>,
    limit: &ReadLimit,
    walk: impl Fn(Option<C>) -> Result<I, StorageError>,
) -> Result<Page<C, F::Item>, StorageError> {
    let PageRequest { limit: items_max, mut offset, after } = request;
    let mut looks = Looks { rows: limit.rows, limit };
    let mut page = Page { items: Vec::new(), total: 0, is_exact: true, next: None };
    let mut bytes_left = PAGE_BYTES;
    let mut last = after;
    for row in walk(after)? {
        // There are no more of them, however much else there is.
        if after.is_none() && known.is_some_and(|total| page.total >= total) {
            break;
        }
        if !looks.has_one_more() {
            page.is_exact = false;
            page.next = page.next.or(last);
            break;
        }
        let (id, found) = row?;
        last = Some(id);
        looks.spend_more(&found);
        if !found.is_wanted()? {
            continue;
        }
        page.total += 1;
        if offset > 0 {
            offset -= 1;
            continue;
        }
        let bytes = found.bytes();
        // An item without room ends the page: a shorter one behind it must not come before it.
        let has_room = page.items.is_empty() || (page.items.len() < items_max && bytes <= bytes_left);
        if page.next.is_none() && has_room {
            bytes_left = bytes_left.saturating_sub(bytes);
            page.items.push((id, found.item()?));
        } else {
            page.next = page.next.or(page.items.last().map(|(id, _)| *id));
            if known.is_some() {
                break;
            }
        }
    }
    if let Some(total) = known {
        return Ok(Page { total, is_exact: true, ..page });
    }
    // What lies before the page counts, too, as far as there are looks left.
    if let Some(after) = after.filter(|_| page.is_exact) {
        for row in walk(None)? {
            let (id, found) = row?;
            if id < after {
                break;
            }
            if !looks.has_one_more() {
                page.is_exact = false;
                break;
            }
            looks.spend_more(&found);
            page.total += usize::from(found.is_wanted()?);
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number that is wanted if it can be divided by this one.
    struct Multiple(usize, usize);

    /// The same where one counts for two.
    struct Costly(Multiple);

    impl Found for Costly {
        type Item = usize;

        fn is_wanted(&self) -> Result<bool, StorageError> {
            self.0.is_wanted()
        }

        fn looks(&self) -> usize {
            2
        }

        fn bytes(&self) -> usize {
            self.0.bytes()
        }

        fn item(&self) -> Result<usize, StorageError> {
            self.0.item()
        }
    }

    impl Found for Multiple {
        type Item = usize;

        fn is_wanted(&self) -> Result<bool, StorageError> {
            Ok(self.0.is_multiple_of(self.1))
        }

        fn bytes(&self) -> usize {
            1
        }

        fn item(&self) -> Result<usize, StorageError> {
            Ok(self.0)
        }
    }

    fn page(length: usize, of: usize, request: PageRequest<usize>, limit: &ReadLimit) -> Page<usize, usize> {
        let walk = |after: Option<usize>| {
            Ok((0..after.unwrap_or(length)).rev().map(move |number| Ok((number, Multiple(number, of)))))
        };
        collect(request, None, limit, walk).unwrap()
    }

    const FIRST: PageRequest<usize> = PageRequest { limit: 2, offset: 0, after: None };

    fn numbers(page: &Page<usize, usize>) -> Vec<usize> {
        page.items.iter().map(|(_, number)| *number).collect()
    }

    #[test]
    fn every_page_says_how_many_there_are_where_all_can_be_looked_at() {
        let mut after = None;
        let mut seen = Vec::new();
        loop {
            let page = page(1000, 100, PageRequest { after, ..FIRST }, &ReadLimit::default());
            assert_eq!((page.total, page.is_exact), (10, true));
            seen.extend(numbers(&page));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..10).rev().map(|number| number * 100).collect::<Vec<_>>());
        let second = page(1000, 100, PageRequest { offset: 3, ..FIRST }, &ReadLimit::default());
        assert_eq!(numbers(&second), [600, 500]);
    }

    #[test]
    fn a_page_that_its_filter_does_not_fill_is_short_and_the_next_one_goes_on() {
        let first = page(25_000, 9_000, FIRST, &ReadLimit::default());
        assert_eq!((numbers(&first), first.total, first.is_exact, first.next), (vec![18_000], 1, false, Some(15_000)));
        let second = page(25_000, 9_000, PageRequest { after: first.next, ..FIRST }, &ReadLimit::default());
        assert_eq!((numbers(&second), second.is_exact, second.next), (vec![9_000], false, Some(5_000)));
        let last = page(25_000, 9_000, PageRequest { after: second.next, ..FIRST }, &ReadLimit::default());
        assert_eq!((numbers(&last), last.is_exact, last.next), (vec![0], false, None));
    }

    #[test]
    fn of_rows_that_cost_twice_as_much_half_as_many_are_looked_at() {
        let walk = |after: Option<usize>| {
            let rows = (0..after.unwrap_or(12_000)).rev();
            Ok(rows.map(|number| Ok((number, Costly(Multiple(number, 9_000))))))
        };
        let page = |after| collect(PageRequest { after, ..FIRST }, None, &ReadLimit::default(), walk).unwrap();
        let first = page(None);
        assert_eq!((numbers(&first), first.is_exact, first.next), (vec![9_000], false, Some(7_000)));
        assert_eq!(page(first.next).next, Some(2_000));
        let last = page(Some(2_000));
        assert_eq!((numbers(&last), last.is_exact, last.next), (vec![0], false, None));
    }

    #[test]
    fn nothing_is_looked_for_beyond_a_known_total() {
        let looked = std::cell::Cell::new(0);
        let page = |known, request| {
            looked.set(0);
            let walk = |after: Option<usize>| {
                let rows = (0..after.unwrap_or(25_000)).rev().inspect(|_| looked.set(looked.get() + 1));
                Ok(rows.map(|number| Ok((number, Multiple(number, 20_000)))))
            };
            let page = collect(request, Some(known), &ReadLimit::default(), walk).unwrap();
            (numbers(&page), page.total, page.next, looked.get())
        };
        assert_eq!(page(0, FIRST), (vec![], 0, None, 1));
        assert_eq!(page(1, FIRST), (vec![20_000], 1, None, 5_001));
        assert_eq!(page(2, FIRST), (vec![20_000], 2, Some(15_000), 10_001), "the other one lies deeper");
        let second = page(2, PageRequest { after: Some(15_000), ..FIRST });
        assert_eq!((second.0, second.2), (vec![], Some(5_000)));
    }

    #[test]
    fn a_read_that_was_given_up_ends_and_leads_on() {
        let (limit, give_up) = ReadLimit::after(Duration::from_hours(1));
        drop(give_up);
        let ended = page(25_000, 1, PageRequest { limit: 100, ..FIRST }, &limit);
        assert_eq!((ended.items.len(), ended.next, ended.is_exact), (64, Some(24_936), false));
    }
}
