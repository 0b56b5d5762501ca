//! A disk in memory that knows what was synced: what a power cut leaves for sure, and what stands in the cache above it.
//! Each test says what happens at a sync.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// One write that was not synced yet.
#[derive(Clone, Debug)]
pub enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
        }
    }
}

/// What a sync comes to, with the durable bytes and the changes since: an error, or whether it did what it says.
pub type AtSync = Box<dyn FnMut(&[u8], &[Change]) -> io::Result<bool> + Send>;

pub struct Disk {
    /// What a power cut leaves for sure.
    pub durable: Vec<u8>,
    /// What a reader sees now.
    pub seen: Vec<u8>,
    /// What was written since the last sync.
    unsynced: Vec<Change>,
    at_sync: AtSync,
}

/// The way of a database to its disk.
#[derive(Clone)]
pub struct Backend(Arc<Mutex<Disk>>);

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

impl Backend {
    pub fn new(bytes: Vec<u8>, at_sync: AtSync) -> Self {
        let disk = Disk { durable: bytes.clone(), seen: bytes, unsynced: Vec::new(), at_sync };
        Self(Arc::new(Mutex::new(disk)))
    }

    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: Change) {
        let mut disk = self.disk();
        change.apply(&mut disk.seen);
        disk.unsynced.push(change);
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (disk, offset) = (self.disk(), usize::try_from(offset).unwrap());
        let found = disk.seen.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let disk = &mut *self.disk();
        if (disk.at_sync)(&disk.durable, &disk.unsynced)? {
            for change in disk.unsynced.drain(..) {
                change.apply(&mut disk.durable);
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(usize::try_from(offset).unwrap(), data.to_vec()));
        Ok(())
    }
}
