//! Places in the feed of a subscription that is read. A cursor is the place behind an event, with the subscription that it
//! belongs to, so that one of another feed is noticed. Pure; any thread.

use std::fmt;

use crate::domain::{EventId, SubscriptionId};

/// A place in a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedCursor {
    /// Whose feed.
    pub subscription: SubscriptionId,
    /// Behind this event; 0: at the beginning.
    pub after: EventId,
}

const PREFIX: &str = "cur_";
const EVENT_DIGITS: usize = 32;

impl FeedCursor {
    /// Reads a cursor of that feed; the error is a sentence.
    pub fn parse(text: &str, feed: SubscriptionId) -> Result<Self, String> {
        let wrong =
            || "is not a cursor of a feed; pass next_cursor exactly as it was returned, or omit cursor".to_owned();
        let (subscription, event) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or_else(wrong)?;
        let is_canonical = |digits: &str| digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if event.len() != EVENT_DIGITS || !is_canonical(event) {
            return Err(wrong());
        }
        let subscription: u32 = subscription.parse().map_err(|_| wrong())?;
        let after = u128::from_str_radix(event, 16).map_err(|_| wrong())?;
        let cursor = Self { subscription: SubscriptionId(subscription), after: EventId(after) };
        match cursor {
            _ if cursor.to_string() != text => Err(wrong()),
            _ if cursor.subscription != feed => Err(format!(
                "is a cursor of the feed of subscription {subscription}, but this is the feed of subscription {feed}"
            )),
            _ => Ok(cursor),
        }
    }
}

impl fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_{:032x}", self.subscription, self.after.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_only_for_its_own_feed() {
        let feed = SubscriptionId(12);
        for after in [0, 7, u128::MAX] {
            let cursor = FeedCursor { subscription: feed, after: EventId(after) };
            assert_eq!(FeedCursor::parse(&cursor.to_string(), feed), Ok(cursor));
            let other = FeedCursor::parse(&cursor.to_string(), SubscriptionId(1)).unwrap_err();
            assert!(other.contains("subscription 12") && other.contains("subscription 1"), "{other}");
        }
        let whole = FeedCursor { subscription: feed, after: EventId(7) }.to_string();
        for text in [
            "",
            "cur_",
            "cur_12_",
            "7",
            &whole[..whole.len() - 1],
            &format!("{whole}0"),
            &whole.to_uppercase(),
            "cur_012_00000000000000000000000000000007",
        ] {
            assert!(FeedCursor::parse(text, feed).unwrap_err().starts_with("is not a cursor"), "{text}");
        }
    }
}
