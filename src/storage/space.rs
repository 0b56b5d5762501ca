//! The space guard: knows whether the disk has room for events beyond what deliveries need. Lives in the writer, on its
//! thread. It asks the file system a few times a second at most, unless much is written, as the answer can take a while.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::disk::free_bytes;

/// How often free space is looked at: ext4 takes half a millisecond to tell it.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// And whenever the file may have grown by this part of the reserve, as a fast publisher fills a small one in between.
const UNCHECKED_PART: u64 = 8;
/// By how much a commit may make the file grow, with room for pages that are not full.
const GROWTH_OF_A_BODY: u64 = 4;
const GROWTH_OF_A_COMMIT_BYTES: u64 = 64 * 1024;

/// How much of the disk is kept free.
#[derive(Clone, Debug)]
pub struct SpaceRule {
    /// A folder on the file system that the database is on.
    pub folder: PathBuf,
    /// Below this, publishing is refused while deliveries go on: in a copy-on-write store even a delete needs space.
    /// 0: no check.
    pub reserve_bytes: u64,
}

/// What is known of the disk.
pub(super) struct SpaceGuard {
    rule: SpaceRule,
    is_enough: bool,
    checked: Option<Instant>,
    /// By how much the file may have grown since then.
    unchecked_bytes: u64,
}

impl SpaceGuard {
    /// Takes the disk to have room until it is looked at.
    pub fn new(rule: SpaceRule) -> Self {
        Self { rule, is_enough: true, checked: None, unchecked_bytes: 0 }
    }

    /// Was there room at the last look?
    pub fn is_enough(&self) -> bool {
        self.is_enough
    }

    /// Looks at the disk if it is time to; a commit follows with so many bytes of bodies.
    pub fn check(&mut self, body_bytes: usize) {
        let reserve_bytes = self.rule.reserve_bytes;
        if reserve_bytes > 0 && self.is_due(body_bytes) {
            // A file system that does not say how much is free is taken to have enough; a full one shows as an error.
            self.judge(free_bytes(&self.rule.folder).unwrap_or(u64::MAX));
        }
    }

    fn is_due(&mut self, body_bytes: usize) -> bool {
        let body_bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
        let growth_bytes = body_bytes.saturating_mul(GROWTH_OF_A_BODY).saturating_add(GROWTH_OF_A_COMMIT_BYTES);
        self.unchecked_bytes = self.unchecked_bytes.saturating_add(growth_bytes);
        let is_recent = self.checked.is_some_and(|at| at.elapsed() < CHECK_EVERY);
        if is_recent && self.unchecked_bytes < self.rule.reserve_bytes / UNCHECKED_PART {
            return false;
        }
        self.checked = Some(Instant::now());
        self.unchecked_bytes = 0;
        true
    }

    fn judge(&mut self, free_bytes: u64) {
        let is_enough = free_bytes >= self.rule.reserve_bytes;
        if is_enough != self.is_enough {
            if is_enough {
                log::info!("enough free space again: publishing is accepted");
            } else {
                log::error!(
                    "only {free_bytes} bytes free: publishing is refused until there is more, deliveries go on"
                );
            }
        }
        self.is_enough = is_enough;
    }
}
