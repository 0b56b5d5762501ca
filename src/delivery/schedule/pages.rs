//! Adds pages that were read from the disk to their lanes. Pure; part of the schedule.

use crate::delivery::schedule::job::Work;
use crate::delivery::schedule::{PAGE_ROWS, PageWanted, Schedule};
use crate::domain::{EventId, SubscriptionId, Timestamp};
use crate::storage::read::reader::PendingEvent;

impl Schedule {
    /// Adds a page of unattempted deliveries.
    pub fn add_unattempted_page(&mut self, id: SubscriptionId, limit: usize, events: Vec<PendingEvent>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.is_reading_unattempted = false;
        lane.cursor = events.last().map(|(event, _)| *event).or(lane.cursor);
        lane.has_unattempted_on_disk = events.len() >= limit || lane.unattempted_added_during_read;
        self.in_memory += events.len();
        for (event, row) in events {
            let work = Work::First(row);
            self.bodies_bytes += work.body_bytes();
            lane.ready.push_back((event, work));
        }
        self.requeue(id);
    }

    /// Adds a page of retries that was read with that limit and due time.
    pub fn add_retry_page(
        &mut self,
        id: SubscriptionId,
        limit: usize,
        rows: &[(Timestamp, EventId)],
        until: Timestamp,
    ) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.is_reading_retries = false;
        lane.has_due_on_disk = false;
        let ended = std::mem::take(&mut lane.ended_during_read);
        let mut next = None;
        let mut taken = 0;
        for (due, event) in rows {
            if lane.claims.contains(event) || ended.contains(event) {
                continue;
            }
            if *due > until || taken == PAGE_ROWS {
                lane.has_due_on_disk = *due <= until;
                next = Some(*due);
                break;
            }
            lane.claims.insert(*event);
            lane.ready.push_back((*event, Work::Retry));
            taken += 1;
        }
        self.in_memory += taken;
        if next.is_none() && rows.len() >= limit {
            lane.has_due_on_disk = true;
            next = Some(until);
        }
        // The page ends with the first row after that time, even if that row is claimed.
        let last = rows.last().map(|(due, _)| *due).filter(|due| *due > until);
        let next = next.or(last);
        self.requeue(id);
        if let Some(due) = next {
            self.retry_due_at(id, due);
        }
    }

    /// Notes that a page could not be read; it will be requested again.
    pub fn page_failed(&mut self, page: PageWanted, now: Timestamp) {
        let (PageWanted::Unattempted { subscription: id, .. } | PageWanted::Retries { subscription: id, .. }) = page;
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        match page {
            PageWanted::Unattempted { .. } => lane.is_reading_unattempted = false,
            PageWanted::Retries { .. } => {
                lane.is_reading_retries = false;
                // The next page is read after all of these ended, so it is not stale.
                lane.ended_during_read.clear();
                self.retry_due_at(id, now);
            }
        }
        self.requeue(id);
    }
}
