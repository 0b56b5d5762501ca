//! A small file system of a test's own.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::mounts::Mounts;
use crate::harness::Server;

/// What the small disk is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskKind {
    /// Memory.
    Tmpfs,
    /// ext4 in a file, as on a real disk. Takes root rights.
    Ext4,
    /// The same, with less behind it than it seems to have: when that is used up, writes fail after the fact.
    Thin,
}

const THIN_BACKING: &str = "4m";

/// A small file system where a server keeps its data.
pub struct SmallDisk {
    mounts: Mounts,
    /// The root folder of the holder.
    root: PathBuf,
    folder: PathBuf,
    backing: PathBuf,
}

impl SmallDisk {
    /// Mounts a file system of so many bytes as the data folder of a server that has none yet. `None` where this user
    /// may not mount, which is said.
    pub fn under(server: &mut Server, kind: DiskKind, bytes: u64) -> Option<Self> {
        let (folder, backing) = (server.data_dir(), server.folder().join("backing"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&backing).unwrap();
        let ext4 = "truncate -s $1 $3/disk && mkfs.ext4 -q -m 0 $3/disk && mount -o loop $3/disk $2";
        let script = match kind {
            DiskKind::Tmpfs => "mount -t tmpfs -o size=$1 none $2".to_owned(),
            DiskKind::Ext4 => ext4.to_owned(),
            DiskKind::Thin => format!("mount -t tmpfs -o size={THIN_BACKING} none $3 && {ext4}"),
        };
        let size = PathBuf::from(bytes.to_string());
        let mounts = Mounts::made_by(&format!("{kind:?}"), &script, &[&size, &folder, &backing])?;
        server.inside(mounts.words());
        let root = PathBuf::from(format!("/proc/{}/root", mounts.pid()));
        Some(Self { mounts, root, folder, backing })
    }

    /// The data folder or what is below it, as the test sees it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.seen(&self.folder.join(name))
    }

    fn seen(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap())
    }

    /// Mounts it anew with other options, such as `ro`.
    pub fn remount(&self, options: &str) {
        self.run("mount -o remount,$1 $2", &[Path::new(options), &self.folder]);
    }

    /// Gives a thin disk what it seemed to have, and mounts it anew, as after the repair of a real one.
    pub fn thicken(&self) {
        let script = "umount $1 && mount -o remount,size=1g $2 && mount -o loop $2/disk $1";
        self.run(script, &[&self.folder, &self.backing]);
    }

    fn run(&self, script: &str, arguments: &[&Path]) {
        let words = self.mounts.words();
        let (program, words) = words.split_first().unwrap();
        let mut command = Command::new(program);
        let done = command.args(words).args(["sh", "-c", script, "sh"]).args(arguments).status().unwrap();
        assert!(done.success(), "{script}: {done}");
    }

    /// How many bytes are free.
    pub fn free(&self) -> u64 {
        let space = statvfs(self.path("")).unwrap();
        space.f_bavail * space.f_frsize
    }

    /// Takes all space but so many bytes.
    pub fn fill_up_to(&self, left: u64) {
        let ballast = File::create(self.path("ballast")).unwrap();
        fallocate(&ballast, FallocateFlags::empty(), 0, self.free() - left).unwrap();
    }

    /// Takes all space, to the last byte.
    pub fn fill(&self) {
        let mut ballast = File::create(self.path("ballast")).unwrap();
        let mut chunk = vec![b'x'; 1 << 20];
        while !chunk.is_empty() {
            let error = loop {
                if let Err(error) = ballast.write_all(&chunk) {
                    break error;
                }
            };
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
            chunk.truncate(chunk.len() / 16);
        }
        ballast.sync_all().unwrap();
    }

    /// Gives back what was taken.
    pub fn clear(&self) {
        fs::remove_file(self.path("ballast")).unwrap();
    }
}
