//! Pages of a feed: the events of a subscription that is read, oldest first, from a place on. What lies before the
//! acknowledged position is found in the log of events, as it was delivered; what lies behind it in the outbox. Both show
//! the same, so a page that was full stays as it was. Any thread.

use crate::domain::delivery::DeliveryState;
use crate::domain::event::content::EventContent;
use crate::domain::subscription::Subscription;
use crate::domain::{DeliveryId, EventId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::read::reader::ReadView;

/// Bytes of bodies after which a page ends, if it has one event.
pub const FEED_PAGE_BYTES: usize = 1024 * 1024;
/// Events of the log that one page looks at.
const LOOKED_AT: usize = 10_000;

/// A page of a feed.
#[derive(Debug)]
pub struct FeedPage {
    /// The events, oldest first.
    pub items: Vec<(EventId, EventContent)>,
    /// Behind this event the next page begins.
    pub next: EventId,
    /// Whether there is more.
    pub has_more: bool,
}

impl ReadView {
    /// When the oldest event was stored that the reader of a subscription has not acknowledged; none if there is none, or if
    /// it is not read.
    pub fn unacknowledged_since(&self, subscription: &Subscription) -> Result<Option<Timestamp>, StorageError> {
        if !subscription.is_pull() {
            return Ok(None);
        }
        let position = self.history(subscription.id)?.acknowledged;
        let first = self.unattempted_after(subscription.id, Some(position), 1, 0)?;
        Ok(first.first().map(|pending| pending.event.time()))
    }

    /// A page of the feed of a subscription, behind that event, or behind what was acknowledged.
    pub fn feed(
        &self,
        subscription: &Subscription,
        after: Option<EventId>,
        limit: usize,
    ) -> Result<FeedPage, StorageError> {
        let position = self.history(subscription.id)?.acknowledged;
        let after = after.unwrap_or(position);
        let mut page = FeedPage { items: Vec::new(), next: after, has_more: false };
        let mut bytes = 0;
        if after < position {
            let log = self.received(subscription, (after, position), LOOKED_AT)?;
            for event in log.events {
                let delivery = self.delivery(DeliveryId { event, subscription: subscription.id })?;
                let state = delivery.map(|delivery| delivery.state);
                let is_shown = matches!(state, Some(DeliveryState::Delivered { .. } | DeliveryState::Pending { .. }));
                if is_shown && !self.add_to(&mut page, &mut bytes, subscription, event, limit)? {
                    return Ok(page);
                }
            }
            page.next = log.last;
            if log.has_more {
                page.has_more = true;
                return Ok(page);
            }
        }
        let wanted = limit.saturating_sub(page.items.len()).saturating_add(1);
        let pending = self.unattempted_after(subscription.id, Some(after.max(position)), wanted, 0)?;
        for pending in &pending {
            if !self.add_to(&mut page, &mut bytes, subscription, pending.event, limit)? {
                return Ok(page);
            }
        }
        // Only events that are damaged have left room for the last one of these.
        page.has_more = pending.len() == wanted;
        Ok(page)
    }

    /// Adds an event, if the page has room for it. False: it is full, and there is more.
    fn add_to(
        &self,
        page: &mut FeedPage,
        bytes: &mut usize,
        subscription: &Subscription,
        event: EventId,
        limit: usize,
    ) -> Result<bool, StorageError> {
        if page.items.len() >= limit || *bytes >= FEED_PAGE_BYTES {
            page.has_more = true;
            return Ok(false);
        }
        match self.event_content(subscription.account, event) {
            Ok(Some(content)) => {
                *bytes += content.body().len();
                page.items.push((event, content));
            }
            Ok(None) => {}
            // One that is damaged holds up nothing.
            Err(error @ StorageError::Codec(_)) => log::error!("event {event} is left out of a feed: {error}"),
            Err(error) => return Err(error),
        }
        page.next = event;
        Ok(true)
    }
}
