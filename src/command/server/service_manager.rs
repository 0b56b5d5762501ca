//! Notifies the service manager (systemd): ready, reloading, stopping, and watchdog. Does nothing without one. The
//! watchdog has its own thread.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::app::Remote;
use crate::storage::write::queue::Progress;

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("the service manager could not be notified: {error}");
    }
}

/// How often the start is looked at, and for how long each look that finds it at work extends its time limit.
const LOOK_AT_START: Duration = Duration::from_secs(5);
const EXTENSION_US: u32 = 300_000_000;

/// Tells the service manager that the start goes on, for as long as it is not dropped.
pub struct Starting {
    _ends: Sender<()>,
}

/// The server is starting, which may take long after an unclean end or with an upgrade. Its time limit is extended while the
/// process reads or writes.
#[must_use = "nothing more is told once it is dropped"]
pub fn starting() -> Starting {
    let (ends, ended) = channel();
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Starting { _ends: ends };
    }
    notify(&[NotifyState::ExtendTimeoutUsec(EXTENSION_US), NotifyState::Status("opening the database")]);
    let thread = std::thread::Builder::new().name("starting".to_owned()).spawn(move || {
        let mut before = transferred_bytes();
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK_AT_START) {
            let now = transferred_bytes();
            if now > before {
                let status = format!("opening the database: {} MB read and written", now / 1_000_000);
                notify(&[NotifyState::ExtendTimeoutUsec(EXTENSION_US), NotifyState::Status(&status)]);
            }
            before = now;
        }
    });
    if let Err(error) = thread {
        log::warn!("the service manager is not notified of the progress of the start: {error}");
    }
    Starting { _ends: ends }
}

/// How many bytes this process has read and written; 0 if unknown.
fn transferred_bytes() -> u64 {
    let figures = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let of = |name: &str| figures.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    of("rchar:").unwrap_or(0).saturating_add(of("wchar:").unwrap_or(0))
}

/// The server is ready, at this URL.
pub fn ready(url: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {url}"))]);
}

/// The server waits at this URL for the end of another one.
pub fn on_standby(url: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("on standby at {url}"))]);
}

/// A server that waits is alive.
pub fn is_alive() {
    if sd_notify::watchdog_enabled().is_some() {
        notify(&[NotifyState::Watchdog]);
    }
}

/// A reload has started.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => log::debug!("no monotonic time: {error}"),
    }
}

/// The reload is done.
pub fn reloaded() {
    notify(&[NotifyState::Ready]);
}

/// The server is stopping.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Sends watchdog notifications while the server is alive, if the service manager wants them.
pub fn watch(remote: Arc<Remote>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        let mut pulse = Liveness::default();
        loop {
            std::thread::sleep(limit / 3);
            if pulse.is_alive(&remote) {
                let status = format!("{} attempts in flight", remote.in_flight());
                notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
            }
        }
    });
    if let Err(error) = thread {
        log::error!("the watchdog thread could not start, so the service manager will kill the process: {error}");
    }
}

/// At so many looks in a row the writer may stand still before it counts as stuck, and at so many while it waits for the
/// disk: a disk that takes minutes is not mended by killing who waits for it.
const LOOKS: u32 = 1;
const LOOKS_ON_DISK: u32 = 30;

/// The state at the last check.
#[derive(Default)]
struct Liveness {
    steps: u64,
    /// At how many looks in a row the writer had work and had not moved.
    stood_still: u32,
}

impl Liveness {
    /// Is the server at work? Not if delivery threads are missing, or the writer has work and does not move.
    fn is_alive(&mut self, remote: &Remote) -> bool {
        let Some(progress) = remote.writer_progress() else { return true };
        remote.has_all_threads() && self.moves(progress)
    }

    fn moves(&mut self, Progress { steps, has_work, awaits_disk }: Progress) -> bool {
        self.stood_still = if has_work && steps == self.steps { self.stood_still.saturating_add(1) } else { 0 };
        self.steps = steps;
        self.stood_still <= if awaits_disk { LOOKS_ON_DISK } else { LOOKS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_alive_while_it_moves_or_has_no_work_and_for_long_while_it_waits_for_the_disk() {
        let mut pulse = Liveness::default();
        let at = |steps, has_work, awaits_disk| Progress { steps, has_work, awaits_disk };
        // A long commit moves with each of its rows.
        assert!((1..100).all(|steps| pulse.moves(at(steps, true, false))));
        assert!((0..100).all(|_| pulse.moves(at(99, false, false))));
        assert!(pulse.moves(at(99, true, false)) && !pulse.moves(at(99, true, false)));
        assert!(pulse.moves(at(100, true, true)));
        assert!((0..LOOKS_ON_DISK).all(|_| pulse.moves(at(100, true, true))));
        assert!(!pulse.moves(at(100, true, true)));
        assert!(pulse.moves(at(101, true, true)));
    }

    #[test]
    fn a_process_at_work_is_known_by_what_it_reads_and_writes() {
        let before = transferred_bytes();
        drop(std::fs::read("/proc/self/maps"));
        assert!(before > 0 && transferred_bytes() > before);
    }
}
