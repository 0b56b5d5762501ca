//! Queries about the disk. Any thread, but a call can block on the file system. Read-only.

use std::path::Path;

/// Bytes available to this process on the folder's file system; `None` if unknown.
#[must_use]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(folder).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}
