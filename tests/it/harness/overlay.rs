//! One data folder that two paths lead to: an overlay, and the folder that it keeps its changes in. It is mounted in a
//! mount namespace that a process of the test holds, so that nothing of it is left behind, however the test ends.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::Server;

/// A mounted overlay.
pub struct Overlay {
    holder: Child,
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
        let is_root = rustix::process::geteuid().is_root();
        let own_user: &[&str] = if is_root { &[] } else { &["--user", "--map-root-user"] };
        let script = "mount -t overlay -o lowerdir=$1,upperdir=$2,workdir=$3 none $4 && echo mounted && exec cat";
        let mut holder = Command::new("unshare")
            .args(own_user)
            .args(["--mount", "sh", "-c", script, "sh"])
            .args([&lower, &upper, &work, &folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare, of util-linux, runs");
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said != "mounted\n" {
            eprintln!("an overlay cannot be mounted here, and was not tested");
            holder.wait().unwrap();
            return None;
        }
        let pid = holder.id().to_string();
        let mut words = vec!["nsenter", "--target", &pid, "--mount"];
        if !is_root {
            words.push("--user");
        }
        above.inside(&words);
        below.inside(&words);
        below.move_to(&upper);
        Some(Self { holder, below: upper })
    }

    /// The folder below, or what is in it.
    pub fn below(&self, name: impl AsRef<Path>) -> PathBuf {
        self.below.join(name)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
