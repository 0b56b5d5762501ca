//! Where the data folder lies and whether it can be written: the kind of file system, what that means for the database,
//! and a try, as rights alone do not tell. It leaves nothing behind.

use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::fs::statfs;

use super::finding::Finding;
use crate::command::doctor::context::DoctorContext;
use crate::storage::maintenance::Maintenance;

const FILE_SYSTEM: &str = "file system";

/// What is not good enough about a kind of file system, by the number that statfs gives it.
struct Kind {
    magic: u64,
    name: &'static str,
    meaning: &'static str,
    fix: &'static str,
    /// Whether chmod may do nothing there.
    has_mount_rights: bool,
}

const LOCAL: &str = "Put storage.data_dir on a local disk with ext4, xfs or btrfs";
const SEEN_TWICE: &str = "two servers that reach it by different paths or from different machines may not see each other's locks, and a sync may not reach the disk";
const NO_LINKS: &str = "it has neither a journal nor file permissions";

const KINDS: [Kind; 14] = [
    kind(0x0102_1994, "tmpfs", "it is in memory, and everything is lost at the next boot", LOCAL, false),
    kind(0x8584_58f6, "ramfs", "it is in memory, and everything is lost at the next boot", LOCAL, false),
    kind(
        0x794c_7630,
        "an overlay",
        "in a container it is lost with the container, and a server that opens the folder below it does not see locks",
        "Put storage.data_dir on a volume of the container, or on a local disk",
        false,
    ),
    kind(0x6573_5546, "FUSE", SEEN_TWICE, LOCAL, true),
    kind(0x6969, "NFS", SEEN_TWICE, LOCAL, false),
    kind(0x0102_1997, "9p", SEEN_TWICE, LOCAL, false),
    kind(0xff53_4d42, "CIFS", SEEN_TWICE, LOCAL, true),
    kind(0xfe53_4d42, "SMB", SEEN_TWICE, LOCAL, true),
    kind(0x517b, "SMB", SEEN_TWICE, LOCAL, true),
    kind(0x00c3_6400, "Ceph", SEEN_TWICE, LOCAL, false),
    kind(0x0bd0_0bd0, "Lustre", SEEN_TWICE, LOCAL, false),
    kind(0x4d44, "vfat", NO_LINKS, LOCAL, true),
    kind(0x2011_bab0, "exfat", NO_LINKS, LOCAL, true),
    kind(0x7366_746e, "ntfs3", NO_LINKS, LOCAL, true),
];

const fn kind(
    magic: u64,
    name: &'static str,
    meaning: &'static str,
    fix: &'static str,
    has_mount_rights: bool,
) -> Kind {
    Kind { magic, name, meaning, fix, has_mount_rights }
}

fn kind_of(folder: &Path) -> Option<&'static Kind> {
    let found = u64::try_from(statfs(folder).ok()?.f_type).ok()? & 0xffff_ffff;
    KINDS.iter().find(|kind| kind.magic == found)
}

/// May chmod do nothing there, because the rights are those that the mount gives?
pub fn has_mount_rights(folder: &Path) -> bool {
    kind_of(folder).is_some_and(|kind| kind.has_mount_rights)
}

pub fn check(context: &DoctorContext) -> Vec<Finding> {
    let folder = &context.config.storage.data_dir;
    let shown = folder.display();
    if !folder.is_dir() {
        return Vec::new();
    }
    let mut findings: Vec<_> = refused(folder)
        .map(|error| {
            let fix = match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "Free some space there, or raise the quota",
                ErrorKind::ReadOnlyFilesystem => {
                    "Mount it read-write; if it became read-only by itself, its disk failed: see dmesg, and check it with fsck"
                }
                _ => "Check its disk, and dmesg",
            };
            Finding::problem(FILE_SYSTEM, format!("{shown} cannot be written: {error}"), fix)
        })
        .into_iter()
        .collect();
    match kind_of(folder) {
        Some(kind) => {
            let message = format!("{shown} is on {}: {}", kind.name, kind.meaning);
            findings.push(Finding::warning(FILE_SYSTEM, message, kind.fix));
        }
        None if findings.is_empty() => {
            findings.push(Finding::ok(FILE_SYSTEM, format!("{shown} is on a local disk and writable")));
        }
        None => {}
    }
    findings
}

/// Why nothing can be written there, if it is the file system that refuses. Rights are looked at elsewhere.
fn refused(folder: &Path) -> Option<io::Error> {
    Maintenance::of(folder).try_writing().err().filter(|error| {
        let is_known = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::ReadOnlyFilesystem];
        // EIO has no kind of its own.
        is_known.contains(&error.kind()) || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        assert_eq!(kind_of(Path::new("/proc")).map(|kind| kind.name), None);
        for (number, kind) in KINDS.iter().enumerate() {
            assert!(KINDS[number + 1..].iter().all(|other| other.magic != kind.magic), "{}", kind.name);
        }
    }
}
