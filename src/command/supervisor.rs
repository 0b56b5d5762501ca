//! Tells the service manager (systemd) how the server is: ready, reloading, stopping, and alive. Says nothing where
//! there is none. The watchdog has a thread of its own.

use std::sync::Arc;

use sd_notify::NotifyState;

use crate::app::Remote;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("the service manager could not be told: {error}");
    }
}

/// The server answers, at this address.
pub fn ready(url: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {url}"))]);
}

/// The configuration is being read again.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => log::debug!("no monotonic time: {error}"),
    }
}

/// That is over.
pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// The server takes no more requests and ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Tells again and again that the server is alive, if the service manager wants to know, and only while it is.
pub fn watch(remote: Arc<Remote>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        let mut pulse = Pulse { commits: 0, is_stuck: false };
        loop {
            std::thread::sleep(limit / 3);
            if pulse.beats(&remote) {
                let status = format!("{} attempts in flight", remote.in_flight());
                tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
            }
        }
    });
    if let Err(error) = thread {
        log::error!("the watchdog has no thread, so the service manager will end the process: {error}");
    }
}

/// What was seen at the last look.
struct Pulse {
    commits: u64,
    is_stuck: bool,
}

impl Pulse {
    /// Is the server at work? Not if delivery threads are missing, or if commands waited at two looks without one
    /// commit between them.
    fn beats(&mut self, remote: &Remote) -> bool {
        let Some((commits, has_work)) = remote.writer_progress() else { return true };
        let stood_still = has_work && commits == self.commits;
        let was_stuck = std::mem::replace(&mut self.is_stuck, stood_still);
        self.commits = commits;
        remote.has_all_threads() && !(stood_still && was_stuck)
    }
}
