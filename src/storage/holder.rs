//! Which process has a store, and a beat that it raises while it lives, so that others can tell without comparing clocks:
//! what stands in the file `holder` of a data folder, or in a row of a database. Says of the process that it names whether
//! it has ended. Any thread. It never writes.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::domain::Timestamp;
use crate::domain::escape::escape_controls;

/// How often a process that has the folder raises its beat.
pub(in crate::storage) const BEAT: Duration = Duration::from_secs(1);
/// How long the beat has to stand still for its process to count as ended.
pub(in crate::storage) const WATCH: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);
/// More than any of these files has.
const LONGEST: u64 = 4096;

/// A process, as far as another one can find it again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    id: i32,
    /// When it began, in ticks since the machine did: numbers of processes are used again.
    began: String,
    /// The namespace in which its number counts.
    namespace: String,
    /// The boot of the machine; a container sees that of its host. A systemd unit may hide it.
    boot: String,
    /// The installation, which a reboot does not change.
    machine: String,
}

/// What stands for something that could not be seen.
const UNSEEN: &str = "-";

impl Process {
    fn own() -> Self {
        let id = i32::try_from(std::process::id()).unwrap_or_default();
        let word = |path: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.split_whitespace().next().unwrap_or(UNSEEN).to_owned()
        };
        let namespace = fs::read_link("/proc/self/ns/pid").ok().and_then(|link| link.to_str().map(str::to_owned));
        Self {
            id,
            began: State::of(id).map_or(UNSEEN.to_owned(), |state| state.began),
            namespace: namespace.unwrap_or_else(|| UNSEEN.to_owned()),
            boot: word("/proc/sys/kernel/random/boot_id"),
            machine: word("/etc/machine-id"),
        }
    }

    /// Does its number mean there what it means here?
    fn is_within_sight_of(&self, other: &Self) -> bool {
        let is_same = |own: &str, other: &str| own != UNSEEN && own == other;
        let is_same_machine = if self.boot == UNSEEN || other.boot == UNSEEN {
            is_same(&self.machine, &other.machine)
        } else {
            self.boot == other.boot
        };
        is_same_machine && is_same(&self.namespace, &other.namespace)
    }

    /// Is there no such process any more? Not if that cannot be seen from here.
    fn has_ended(&self) -> bool {
        let Some(pid) = Pid::from_raw(self.id).filter(|_| self.is_within_sight_of(&Self::own())) else { return false };
        match (test_kill_process(pid), State::of(self.id)) {
            (Err(Errno::SRCH), _) => true,
            // Of other users' processes nothing may be seen but that they are there.
            (_, None) => false,
            (_, Some(state)) => state.is_dead || state.began != self.began,
        }
    }
}

/// What the kernel says of a process.
struct State {
    is_dead: bool,
    began: String,
}

impl State {
    fn of(id: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name of the program stands in parentheses, and may hold any.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let is_dead = matches!(fields.next()?, "Z" | "X");
        Some(Self { is_dead, began: fields.nth(18)?.to_owned() })
    }
}

/// The process that has a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::storage) struct Holder {
    /// Who that is, for people.
    pub who: String,
    /// Random, for this one use of the folder.
    token: String,
    process: Process,
    beat: u64,
}

/// What becomes of a process that has the folder.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::storage) enum Life {
    /// It has ended, or gave no sign of life for [`WATCH`].
    Ended,
    /// It is at work.
    AtWork,
}

impl Holder {
    /// This process, from now on.
    pub fn own(token: u128, now: Timestamp) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let process = Process::own();
        let who = format!("process {} on {host} since {now}", process.id);
        Self { who, token: format!("{token:032x}"), process, beat: 0 }
    }

    /// What stays as it is for as long as the process has the folder: the file begins with it.
    pub fn head(&self) -> String {
        let Self { who, token, process: Process { id, began, namespace, boot, machine }, .. } = self;
        format!(
            "{who}\ntoken {token}\nprocess {id} began {began} namespace {namespace} boot {boot} machine {machine}\nbeat "
        )
    }

    /// What the file says with this beat.
    pub fn text(&self, beat: u64) -> String {
        format!("{}{beat}\n", self.head())
    }

    /// Reads the file. None: nobody has the folder, or an earlier version, which wrote down its process alone.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match text_of(path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads what it says.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let who = escape_controls(lines.next()?);
        let token = lines.next()?.strip_prefix("token ")?.to_owned();
        let words: Vec<&str> = lines.next()?.split(' ').collect();
        let ["process", id, "began", began, "namespace", namespace, "boot", boot, "machine", machine] = words[..]
        else {
            return None;
        };
        let [began, namespace, boot, machine] = [began, namespace, boot, machine].map(str::to_owned);
        let process = Process { id: id.parse().ok()?, began, namespace, boot, machine };
        let beat = lines.next()?.strip_prefix("beat ")?.parse().ok()?;
        Some(Self { who, token, process, beat })
    }

    /// Whether it can be seen from here that the process has ended.
    pub fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Finds out whether the process lives. That takes no time if it can be seen from here that it has ended.
    pub fn look(&self, path: &Path) -> Life {
        if self.has_ended() {
            return Life::Ended;
        }
        log::info!(
            "{} was in use by {}; watching for {WATCH:?} whether that process is running",
            path.display(),
            self.who
        );
        let begun = Instant::now();
        while begun.elapsed() < WATCH {
            std::thread::sleep(LOOK);
            // Opened anew each time, as a network file system looks at the server's copy then.
            match Self::read(path) {
                Ok(Some(now)) if now != *self => return Life::AtWork,
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => {}
            }
        }
        Life::Ended
    }
}

/// Whoever is at work in the folder, for people; none if that cannot be seen.
pub(in crate::storage) fn at_work(path: &Path) -> Option<String> {
    let holder = Holder::read(path).ok()??;
    (holder.look(path) == Life::AtWork).then_some(holder.who)
}

/// What the file says of whoever has the folder, for people.
pub(in crate::storage) fn who(path: &Path) -> Option<String> {
    text_of(path).ok()?.lines().next().map(escape_controls)
}

/// A link in its place is not followed.
pub(in crate::storage) fn text_of(path: &Path) -> io::Result<String> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Holder {
        Holder::own(7, Timestamp::parse("2026-03-02T08:00:00Z").unwrap())
    }

    #[test]
    fn what_is_written_is_read_whatever_a_longer_text_left_behind_it() {
        let holder = own();
        assert!(holder.who.starts_with("process ") && holder.who.ends_with("since 2026-03-02T08:00:00.000Z"));
        let written = Holder { beat: 12, ..holder.clone() };
        assert_eq!(Holder::parse(&holder.text(12)), Some(written.clone()));
        assert_eq!(Holder::parse(&(holder.text(12) + "7\nbeat 9\n")), Some(written));
        for other in ["", "process 1971 since 2026-03-02T08:00:00.000Z", &holder.head()] {
            assert_eq!(Holder::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_process_that_cannot_be_seen_is_not_called_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = i32::try_from(child.id()).unwrap();
        let began = State::of(id).unwrap().began;
        child.wait().unwrap();
        let own = Process::own();
        let gone = Process { id, began, ..own.clone() };
        assert!(gone.has_ended());
        assert!(!own.has_ended());
        assert!(Process { began: "1".to_owned(), ..own.clone() }.has_ended(), "the number was given out again");
        assert!(!Process { namespace: "pid:[1]".to_owned(), ..gone.clone() }.has_ended(), "of another container");
        assert!(!Process { boot: "another".to_owned(), ..gone.clone() }.has_ended(), "of another machine");
        let hidden = Process { boot: UNSEEN.to_owned(), ..gone.clone() };
        assert_eq!(hidden.has_ended(), own.machine != UNSEEN, "a unit that hides the boot");
        assert!(!Process { machine: "another".to_owned(), ..hidden }.has_ended(), "of another machine");
    }
}
