//! The space guard: whether the disk has free space beyond the reserve for deliveries. Part of the writer, on its
//! thread. It queries the file system a few times a second at most, unless much is written, because the call can be
//! slow.

use std::time::{Duration, Instant};

/// How often free space is checked: the call takes half a millisecond on ext4.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// It is also checked when the file may have grown by this fraction of the reserve, since a fast publisher can use up a
/// small one in between.
const UNCHECKED_DIVISOR: u64 = 8;
/// Upper bounds on how much a commit grows the file, with allowance for partly filled pages.
const GROWTH_OF_A_BODY: u64 = 4;
const GROWTH_OF_A_COMMIT_BYTES: u64 = 64 * 1024;

/// The last known state of the disk.
pub(in crate::storage) struct SpaceGuard {
    /// Below this, publishing is refused while deliveries go on: in a copy-on-write store even a delete needs space.
    /// 0: no check.
    reserve_bytes: u64,
    is_enough: bool,
    checked: Option<Instant>,
    /// By how much the file may have grown since then.
    unchecked_bytes: u64,
}

impl SpaceGuard {
    /// Assumes free space until the first check.
    pub fn new(reserve_bytes: u64) -> Self {
        Self { reserve_bytes, is_enough: true, checked: None, unchecked_bytes: 0 }
    }

    /// Whether there was enough space at the last check.
    pub fn is_enough(&self) -> bool {
        self.is_enough
    }

    /// Asks how much is free if a check is due, before a commit with that many bytes of bodies.
    pub fn check(&mut self, body_bytes: usize, free_bytes: impl FnOnce() -> Option<u64>) {
        if self.reserve_bytes > 0 && self.is_due(body_bytes) {
            // If free space is unknown, assume enough; a full disk shows up as an error.
            self.judge(free_bytes().unwrap_or(u64::MAX));
        }
    }

    fn is_due(&mut self, body_bytes: usize) -> bool {
        let body_bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
        let growth_bytes = body_bytes.saturating_mul(GROWTH_OF_A_BODY).saturating_add(GROWTH_OF_A_COMMIT_BYTES);
        self.unchecked_bytes = self.unchecked_bytes.saturating_add(growth_bytes);
        let is_recent = self.checked.is_some_and(|at| at.elapsed() < CHECK_EVERY);
        if is_recent && self.unchecked_bytes < self.reserve_bytes / UNCHECKED_DIVISOR {
            return false;
        }
        self.checked = Some(Instant::now());
        self.unchecked_bytes = 0;
        true
    }

    fn judge(&mut self, free_bytes: u64) {
        let is_enough = free_bytes >= self.reserve_bytes;
        if is_enough != self.is_enough {
            if is_enough {
                log::info!("enough free space again: publishing is accepted");
            } else {
                log::error!(
                    "only {free_bytes} bytes free: publishing is refused until there is more, deliveries continue"
                );
            }
        }
        self.is_enough = is_enough;
    }
}
