//! A network of a test's own: another root of names, other addresses, no way out. Namespaces make it, so it needs
//! neither root rights nor another machine; `unshare` and `ip` have to be there.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::harness::wait_guarded;

/// Tells the test that it already runs on its island.
const INSIDE: &str = "ON_AN_ISLAND";

/// Stands for any receiver on the internet: it is the island's own, and no special address.
pub const PUBLIC: &str = "93.184.216.34";
/// The same in version 6.
pub const PUBLIC_V6: &str = "2606:4700::1111";
/// Where the island's name server listens.
pub const NAME_SERVER: &str = "198.41.0.4";

/// Addresses that the island has besides loopback, so that whoever dials one really gets there.
const ADDRESSES: [&str; 6] = [PUBLIC, PUBLIC_V6, NAME_SERVER, "169.254.169.254", "10.0.0.1", "fd00:ec2::254"];

/// Runs the test of this name once more, on an island, where `body` is carried out.
#[track_caller]
pub fn on_an_island(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        settle();
        return body();
    }
    let inner = std::env::current_exe().unwrap();
    let log = tempfile::tempfile().unwrap();
    let mut child = Command::new("unshare")
        .args(["--map-root-user", "--mount", "--net"])
        .arg(inner)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log.try_clone().unwrap())
        .spawn()
        .unwrap_or_else(|error| panic!("unshare cannot be started ({error}); it is in Debian's util-linux"));
    let status = wait_guarded(&mut child, &format!("{name} on its island"));
    let text = read(log);
    assert!(status.success() && text.contains("1 passed"), "{name} on its island ended with {status}:\n{text}");
}

fn read(mut log: fs::File) -> String {
    use std::io::{Read as _, Seek as _};
    let mut text = String::new();
    log.rewind().unwrap();
    log.read_to_string(&mut text).unwrap();
    text
}

fn settle() {
    run("ip", &["link", "set", "lo", "up"]);
    for address in ADDRESSES {
        run("ip", &["address", "add", address, "dev", "lo"]);
    }
    run("mount", &["-t", "tmpfs", "tmpfs", "/etc"]);
    fs::write("/etc/nsswitch.conf", "hosts: files dns\n").unwrap();
    fs::write("/etc/resolv.conf", format!("nameserver {NAME_SERVER}\noptions timeout:5 attempts:1\n")).unwrap();
    // A name may have several lines in /etc/hosts.
    fs::write("/etc/host.conf", "multi on\n").unwrap();
    hosts("");
}

/// Fills the island's `/etc/hosts`.
pub fn hosts(lines: &str) {
    fs::write("/etc/hosts", lines).unwrap();
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be started: {error}; run tests/run"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
