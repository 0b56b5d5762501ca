//! Adds pages that were read from the disk to their lanes, and takes out what has expired meanwhile. Pure; part of the schedule.

use crate::delivery::schedule::job::{Queued, Work};
use crate::delivery::schedule::{PAGE_ROWS, PageWanted, Schedule};
use crate::domain::{DeliveryId, SubscriptionId, Timestamp};
use crate::storage::read::reader::{PendingEvent, Retry};

impl Schedule {
    /// Notes that a delivery was given up: it leaves the queue, and the page that is being read. An attempt in flight ends as
    /// ever.
    pub fn expired(&mut self, delivery: DeliveryId) {
        let Some(lane) = self.lanes.get_mut(&delivery.subscription) else { return };
        if lane.is_reading_retries {
            lane.ended_during_read.insert(delivery.event);
        }
        if lane.is_reading_unattempted {
            lane.expired_during_read.insert(delivery.event);
        }
        let Some(place) = lane.ready.iter().position(|queued| queued.event == delivery.event) else { return };
        let Some(Queued { event, work, .. }) = lane.ready.remove(place) else { return };
        if !matches!(work, Work::First(_)) {
            lane.claims.remove(&event);
        }
        self.leave(1, work.body_bytes());
        self.requeue(delivery.subscription);
    }

    /// Adds a page of unattempted deliveries.
    pub fn add_unattempted_page(&mut self, id: SubscriptionId, limit: usize, events: Vec<PendingEvent>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.is_reading_unattempted = false;
        lane.cursor = events.last().map(|pending| pending.event).or(lane.cursor);
        lane.has_unattempted_on_disk = events.len() >= limit || lane.unattempted_added_during_read;
        let expired = std::mem::take(&mut lane.expired_during_read);
        for PendingEvent { event, key, content } in
            events.into_iter().filter(|pending| !expired.contains(&pending.event))
        {
            self.in_memory += 1;
            let work = Work::First(content);
            self.bodies_bytes += work.body_bytes();
            lane.ready.push_back(Queued { event, key, work });
        }
        self.requeue(id);
    }

    /// Adds a page of retries that was read with that limit and due time.
    pub fn add_retry_page(&mut self, id: SubscriptionId, limit: usize, rows: &[Retry], until: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.is_reading_retries = false;
        lane.has_due_on_disk = false;
        let ended = std::mem::take(&mut lane.ended_during_read);
        let mut next = None;
        let mut taken = 0;
        for Retry { due, event, key, is_batch } in rows {
            if lane.claims.contains(event) || ended.contains(event) {
                continue;
            }
            if *due > until || taken == PAGE_ROWS {
                lane.has_due_on_disk = *due <= until;
                next = Some(*due);
                break;
            }
            lane.claims.insert(*event);
            let work = if *is_batch { Work::Batch } else { Work::Retry };
            lane.ready.push_back(Queued { event: *event, key: *key, work });
            taken += 1;
        }
        self.in_memory += taken;
        if next.is_none() && rows.len() >= limit {
            lane.has_due_on_disk = true;
            next = Some(until);
        }
        // The page ends with the first row after that time, even if that row is claimed.
        let last = rows.last().map(|retry| retry.due).filter(|due| *due > until);
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
            PageWanted::Unattempted { .. } => {
                lane.is_reading_unattempted = false;
                lane.expired_during_read.clear();
            }
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
