//! What the operating system says of the disk. Any thread, though a call may wait for the file system. It never
//! changes anything.

use std::path::Path;

/// How much is free for this process on the file system of that folder, in bytes; none if that cannot be told.
#[must_use]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(folder).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}
