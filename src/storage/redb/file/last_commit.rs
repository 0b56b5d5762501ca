//! What the last commit left of the database file: its length and its header. A file that is overwritten in place or cut
//! off keeps its name and number, and only this tells. The writer's thread looks before it begins a transaction and notes
//! what a commit has left, the owner's thread looks each second; each takes a few microseconds and reads the header alone.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::storage::error::Loss;
use crate::storage::redb::file::folder::FileId;
use crate::storage::redb::file::newest_commit::HEADER_BYTES;

/// The part of the header behind the flags and in front of both commits, which gives the length of the file.
const LAYOUT: Range<usize> = 10..64;

/// The file, and how it has to be.
pub(super) struct LastCommit {
    file: File,
    state: Mutex<State>,
}

/// redb 4.6 writes the header when it opens the file, with each commit, and when it closes the file.
enum State {
    /// No transaction is open.
    Settled(Left),
    /// One is, and may make the file longer.
    Open(Left),
    /// One is being committed, or was and failed.
    Committing,
}

#[derive(PartialEq, Eq)]
struct Left {
    length: u64,
    /// It names both commits, with their numbers and checksums.
    header: [u8; HEADER_BYTES],
}

impl LastCommit {
    /// The file as it is now; none if it is not the one that is open, or cannot be looked at.
    pub(super) fn of(path: &Path, opened: FileId) -> Option<Self> {
        let file = File::open(path).ok()?;
        let is_it = file.metadata().is_ok_and(|found| FileId::of(&found) == opened);
        let left = Left::of(&file).ok()?;
        is_it.then(|| Self { file, state: Mutex::new(State::Settled(left)) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails unless the file is as the last commit left it.
    pub(super) fn check(&self, path: &Path) -> Result<(), Loss> {
        self.compare(&self.lock(), path)
    }

    /// The same before a transaction.
    pub(super) fn begin(&self, path: &Path) -> Result<(), Loss> {
        let mut state = self.lock();
        self.compare(&state, path)?;
        if let State::Settled(left) = std::mem::replace(&mut *state, State::Committing) {
            *state = State::Open(left);
        }
        Ok(())
    }

    /// The same before the transaction is committed, which `commit` does.
    pub(super) fn around<E: From<Loss>>(&self, path: &Path, commit: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut state = self.lock();
        self.compare(&state, path)?;
        let before = std::mem::replace(&mut *state, State::Committing);
        // The owner's thread does not wait for the disk.
        drop(state);
        commit()?;
        let left = Left::of(&self.file).map_err(|error| unseen(&error, path))?;
        if let State::Open(before) = before
            && before.header.get(LAYOUT) == left.header.get(LAYOUT)
            && before.length != left.length
        {
            return Err(Loss::Overwritten(path.to_owned()).into());
        }
        *self.lock() = State::Settled(left);
        Ok(())
    }

    fn compare(&self, state: &State, path: &Path) -> Result<(), Loss> {
        let (left, is_open) = match state {
            State::Settled(left) => (left, false),
            State::Open(left) => (left, true),
            State::Committing => return Ok(()),
        };
        match Left::of(&self.file) {
            Ok(found) if found == *left => Ok(()),
            Ok(found) if is_open && found.header == left.header && found.length >= left.length => Ok(()),
            Ok(_) => Err(Loss::Overwritten(path.to_owned())),
            // It ends within the header.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Loss::Overwritten(path.to_owned())),
            Err(error) => Err(unseen(&error, path)),
        }
    }
}

fn unseen(error: &io::Error, path: &Path) -> Loss {
    Loss::Unseen(path.to_owned(), error.to_string())
}

impl Left {
    fn of(file: &File) -> io::Result<Self> {
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0)?;
        Ok(Self { length: file.metadata()?.len(), header })
    }
}
