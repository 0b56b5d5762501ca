//! Rate limit in a rolling window of one minute. Shared by the HTTP workers; the lock is held briefly.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

const WINDOW_S: u64 = 60;
const SLOTS: usize = 60;
/// With more callers than this within a minute, all counts are reset, to bound memory.
const CALLERS: usize = 10_000;

/// A rolling window of one minute per caller, in slots of a second.
#[derive(Debug)]
pub struct RateLimit<K> {
    per_minute: u32,
    started: Instant,
    windows: Mutex<HashMap<K, MinuteWindow>>,
}

#[derive(Debug)]
struct MinuteWindow {
    counts: [u32; SLOTS],
    last_s: u64,
}

/// A caller's remaining requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests per minute.
    pub limit: u32,
    /// Remaining requests now.
    pub remaining: u32,
}

impl Allowance {
    /// Of a request that counts towards no limit, as nobody has looked whose it is.
    pub const UNCOUNTED: Self = Self { limit: u32::MAX, remaining: u32::MAX };
}

impl<K: Eq + Hash> RateLimit<K> {
    /// A limit in requests per minute; 0: unlimited.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, started: Instant::now(), windows: Mutex::default() }
    }

    /// Counts a request. The error is the number of seconds until the next one is allowed.
    pub fn count(&self, caller: K) -> Result<Allowance, u64> {
        self.count_at(caller, self.started.elapsed().as_secs())
    }

    /// The limit, for a header.
    #[must_use]
    pub fn limit(&self) -> u32 {
        if self.per_minute == 0 { u32::MAX } else { self.per_minute }
    }

    fn count_at(&self, caller: K, now_s: u64) -> Result<Allowance, u64> {
        let limit = self.limit();
        if self.per_minute == 0 {
            return Ok(Allowance { limit, remaining: limit });
        }
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= CALLERS {
            windows.retain(|_, window| now_s.saturating_sub(window.last_s) < WINDOW_S);
        }
        if windows.len() >= CALLERS {
            windows.clear();
        }
        let window = windows.entry(caller).or_insert(MinuteWindow { counts: [0; SLOTS], last_s: now_s });
        window.advance(now_s);
        let used: u32 = window.counts.iter().fold(0, |sum, count| sum.saturating_add(*count));
        if used >= limit {
            return Err(window.seconds_until_free(now_s));
        }
        if let Some(count) = window.counts.get_mut(slot(now_s)) {
            *count += 1;
        }
        Ok(Allowance { limit, remaining: limit - used - 1 })
    }
}

fn slot(second: u64) -> usize {
    usize::try_from(second % WINDOW_S).unwrap_or(0)
}

impl MinuteWindow {
    fn advance(&mut self, now_s: u64) {
        let passed = now_s.saturating_sub(self.last_s).min(WINDOW_S);
        for step in 1..=passed {
            if let Some(count) = self.counts.get_mut(slot(self.last_s + step)) {
                *count = 0;
            }
        }
        // After a pause longer than the window every slot is clear.
        if passed == WINDOW_S {
            self.counts = [0; SLOTS];
        }
        self.last_s = self.last_s.max(now_s);
    }

    fn seconds_until_free(&self, now_s: u64) -> u64 {
        (1..=WINDOW_S)
            .find(|ahead| self.counts.get(slot(now_s + ahead)).is_some_and(|count| *count > 0))
            .unwrap_or(WINDOW_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_sees_more_than_the_limit() {
        let limit: RateLimit<&str> = RateLimit::new(3);
        assert_eq!(limit.count_at("a", 100), Ok(Allowance { limit: 3, remaining: 2 }));
        assert!(limit.count_at("a", 130).is_ok());
        assert_eq!(limit.count_at("a", 130), Ok(Allowance { limit: 3, remaining: 0 }));
        assert_eq!(limit.count_at("a", 159), Err(1));
        assert_eq!(limit.count_at("a", 160), Ok(Allowance { limit: 3, remaining: 0 }));
        assert_eq!(limit.count_at("a", 161), Err(29));
        assert!(limit.count_at("b", 161).is_ok());
        assert_eq!(limit.count_at("a", 1000), Ok(Allowance { limit: 3, remaining: 2 }));
    }

    #[test]
    fn ten_thousand_tries_within_a_minute_get_no_further_than_the_first_few() {
        let limit: RateLimit<&str> = RateLimit::new(30);
        // Spread over nearly a minute, which no window may forget.
        let allowed = (0..10_000_u64).filter(|number| limit.count_at("a", 100 + number * 59 / 10_000).is_ok()).count();
        assert_eq!(allowed, 30);
    }

    #[test]
    fn zero_is_no_limit() {
        let limit: RateLimit<&str> = RateLimit::new(0);
        assert!((0..10_000).all(|_| limit.count_at("a", 1).is_ok()));
    }
}
