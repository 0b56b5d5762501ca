//! A mount namespace that a process of the test holds, so that nothing of what is mounted in it is left behind, however the
//! test ends.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// The namespace.
pub struct Mounts {
    holder: Child,
    is_root: bool,
}

impl Mounts {
    /// Runs a shell script that mounts something, in a namespace of its own. `None` where this user may not, which is said.
    pub fn made_by(what: &str, script: &str, arguments: &[impl AsRef<OsStr>]) -> Option<Self> {
        let is_root = rustix::process::geteuid().is_root();
        let own_user: &[&str] = if is_root { &[] } else { &["--user", "--map-root-user"] };
        let mut holder = Command::new("unshare")
            .args(own_user)
            .args(["--mount", "sh", "-c", &format!("{script} && echo mounted && exec cat"), "sh"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare, of util-linux, runs");
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said != "mounted\n" {
            eprintln!("{what} cannot be mounted here, and was not tested");
            holder.wait().unwrap();
            return None;
        }
        Some(Self { holder, is_root })
    }

    /// The id of the process that holds it.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// The command before one that is to run in it.
    pub fn words(&self) -> Vec<String> {
        let pid = self.pid().to_string();
        let mut words = vec!["nsenter", "--target", &pid, "--mount"];
        if !self.is_root {
            words.push("--user");
        }
        words.into_iter().map(str::to_owned).collect()
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
