//! One data folder that two paths lead to: an overlay, and the folder that it keeps its changes in.

use std::fs;
use std::path::{Path, PathBuf};

use super::mounts::Mounts;
use crate::harness::Server;

/// A mounted overlay.
pub struct Overlay {
    _mounts: Mounts,
    below: PathBuf,
}

impl Overlay {
    /// Mounts an overlay as the data folder of one server, and has the other one work on the folder below. `None` where
    /// this user may not mount it, which is said.
    pub fn under(above: &mut Server, below: &mut Server) -> Option<Self> {
        let folder = above.data_dir();
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| above.folder().join(name));
        for made in [&folder, &lower, &upper, &work] {
            fs::create_dir(made).unwrap();
        }
        let script = "mount -t overlay -o lowerdir=$1,upperdir=$2,workdir=$3 none $4";
        let mounts = Mounts::made_by("an overlay", script, &[&lower, &upper, &work, &folder])?;
        above.inside(mounts.words());
        below.inside(mounts.words());
        below.move_to(&upper);
        Some(Self { _mounts: mounts, below: upper })
    }

    /// The folder below, or what is in it.
    pub fn below(&self, name: impl AsRef<Path>) -> PathBuf {
        self.below.join(name)
    }
}
