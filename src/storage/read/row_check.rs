//! Checks all rows of a large store once after a start that did not: a thread with little to do goes through them while the
//! server works, and says what is damaged. It holds no snapshot between two steps, and ends with the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::storage::engine::RowPosition;
use crate::storage::error::StorageError;
use crate::storage::read::reader::Reader;

/// Rows of a step.
const STEP_ROWS: usize = 1000;
/// It rests for so many times as long as a step took, so that it needs a fifth of a processor, or of a disk.
const REST: u32 = 4;
/// So many damaged rows are named in the log; of the others the number is told.
const NAMED_MAX: u64 = 100;

/// How far the check has come. Any thread.
#[derive(Debug, Default)]
pub struct CheckProgress {
    left: AtomicU64,
    damaged: AtomicU64,
}

impl CheckProgress {
    /// How many rows were not compared with their digests yet, neither at the start nor since.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// How many of the others are damaged.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }
}

/// The running check.
pub struct RowCheck {
    /// How far it has come.
    pub progress: Arc<CheckProgress>,
    /// The thread ends when this is dropped.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl RowCheck {
    /// Begins.
    pub fn start(reader: Reader) -> std::io::Result<Self> {
        let progress = Arc::new(CheckProgress { left: AtomicU64::new(1), ..CheckProgress::default() });
        let (stop, stopped) = channel();
        let told = Arc::clone(&progress);
        let thread = std::thread::Builder::new().name("row-check".to_owned()).spawn(move || {
            if let Err(error) = run(&reader, &told, &stopped) {
                log::error!("the check of all rows ended early: {error}");
            }
        })?;
        Ok(Self { progress, stop, thread })
    }

    /// Ends it.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            log::error!("the check of all rows had panicked");
        }
    }
}

fn run(reader: &Reader, progress: &CheckProgress, stopped: &Receiver<()>) -> Result<(), StorageError> {
    let of = reader.view().row_count()?;
    let mut rows = 0;
    let mut next = Some(RowPosition::default());
    while let Some(position) = next {
        let begun = Instant::now();
        let checked = reader.view().check_rows(&position, STEP_ROWS)?;
        for name in checked.damaged {
            if progress.damaged.fetch_add(1, Ordering::Relaxed) < NAMED_MAX {
                log::error!(
                    "{name} is damaged; verify shows whether there is more damage, and a backup has the original"
                );
            }
        }
        rows += checked.rows;
        // Some may have been added since; until the end there are more.
        progress.left.store(of.saturating_sub(rows).max(1), Ordering::Relaxed);
        next = checked.next;
        let rest = begun.elapsed().saturating_mul(REST).min(Duration::from_secs(1));
        match stopped.recv_timeout(rest) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
    progress.left.store(0, Ordering::Relaxed);
    log::info!("{rows} rows checked, {} damaged", progress.damaged());
    Ok(())
}
