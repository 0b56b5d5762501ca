//! What every handler can reach. Shared by the HTTP workers.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::web;
use tokio::sync::{Semaphore, oneshot};

use super::error::ApiError;
use super::free_space::FreeSpace;
use super::pings::Pings;
use super::rate_limit::RateLimit;
use super::recent_attempts::RecentAttempts;
use super::shares::{ANSWERS_BYTES, ANSWERS_BYTES_OF_ONE, Share, Shares, WAIT};
use crate::clock::Clock;
use crate::delivery::{Dispatcher, Transport};
use crate::domain::endpoint::EndpointPolicy;
use crate::domain::{AccountId, KeyId};
use crate::storage::command::{Command, Reply};
use crate::storage::error::{Refusal, StorageError};
use crate::storage::queue::WriterHandle;
use crate::storage::reader::{Reader, Snapshot};

/// Limits and rules of the API.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Which endpoints may be subscribed.
    pub policy: EndpointPolicy,
    /// How long a whole request may take to arrive.
    pub request_timeout: Duration,
    /// The longest event, in bytes.
    pub event_bytes: u64,
    /// Requests a minute of one key, except for publishing; 0: any number.
    pub management_per_minute: u32,
    /// Publish requests a minute of one key; 0: any number.
    pub publish_per_minute: u32,
    /// Wrong keys a minute of one source that are answered at once; 0: any number.
    pub wrong_keys_per_minute: u32,
    /// Threads that read, of all HTTP workers together.
    pub read_threads: usize,
    /// How many of them one account may use at a time.
    pub read_threads_of_one: usize,
    /// The folder whose file system has to have space.
    pub data_dir: PathBuf,
    /// How much space it has to have.
    pub free_space_reserve_bytes: u64,
}

/// How many bytes of bodies may be in memory while they arrive and are read; beyond that callers are asked to wait.
const ALL_BODIES_BYTES: usize = 64 * 1024 * 1024;

/// Shared by all handlers.
pub struct HttpState {
    pub(super) settings: HttpSettings,
    /// The way to what is stored.
    pub reader: Reader,
    pub(super) writer: WriterHandle,
    pub(super) transport: Arc<Transport>,
    pub(super) dispatcher: Arc<Dispatcher>,
    /// The time.
    pub clock: Clock,
    pub(super) vitals: Arc<Vitals>,
    pub(super) management: RateLimit<KeyId>,
    pub(super) publishing: RateLimit<KeyId>,
    pub(super) guesses: RateLimit<IpAddr>,
    pub(super) pings: Arc<Pings>,
    /// Bytes that bodies may still take.
    pub(super) body_room: Arc<Semaphore>,
    pub(super) free_space: FreeSpace,
    /// What was attempted lately.
    pub recent_attempts: Arc<RecentAttempts>,
    read_threads: Shares,
    answer_bytes: Shares,
}

/// What is read and answered beside the body of an event: attempts with what receivers answered, above all.
const BESIDE_A_BODY: usize = 256 * 1024;

/// What readiness depends on besides the disk.
#[derive(Debug, Default)]
pub struct Vitals {
    /// The store has failed.
    pub store_failed: AtomicBool,
    /// The process is stopping.
    pub is_stopping: AtomicBool,
}

impl Vitals {
    pub(super) fn has_store(&self) -> bool {
        !self.store_failed.load(Ordering::Relaxed)
    }

    pub(super) fn accepts(&self) -> bool {
        !self.is_stopping.load(Ordering::Relaxed)
    }
}

impl HttpState {
    /// The state of a server that is about to start.
    #[must_use]
    pub fn new(
        settings: HttpSettings,
        (reader, writer): (Reader, WriterHandle),
        (dispatcher, transport): (Arc<Dispatcher>, Arc<Transport>),
        clock: Clock,
        vitals: Arc<Vitals>,
        recent_attempts: Arc<RecentAttempts>,
    ) -> Self {
        Self {
            management: RateLimit::new(settings.management_per_minute),
            publishing: RateLimit::new(settings.publish_per_minute),
            guesses: RateLimit::new(settings.wrong_keys_per_minute),
            pings: Arc::default(),
            body_room: Arc::new(Semaphore::new(ALL_BODIES_BYTES)),
            free_space: FreeSpace::of(settings.data_dir.clone()),
            read_threads: Shares::new(settings.read_threads, settings.read_threads_of_one, WAIT),
            answer_bytes: Shares::new(ANSWERS_BYTES, ANSWERS_BYTES_OF_ONE, WAIT),
            settings,
            reader,
            writer,
            transport,
            dispatcher,
            clock,
            vitals,
            recent_attempts,
        }
    }

    /// Asks the writer and waits for its answer, which comes after the commit.
    pub async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.writer.try_send(command(reply))?;
        Ok(answer.await.unwrap_or(Err(Refusal::StoreFailed))?)
    }

    /// Reads beside the executor what makes a short answer, all as of one commit, in the share of an account; the operator
    /// is none.
    pub async fn read<T: Send + 'static>(
        &self,
        account: Option<AccountId>,
        read: impl FnOnce(&Snapshot) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.read_much(account, 0, read).await.map(|(found, _)| found)
    }

    /// The same of what may take so much memory, with the answer. Gives with it the memory that was taken
    /// for it.
    pub(super) async fn read_much<T: Send + 'static>(
        &self,
        account: Option<AccountId>,
        bytes: usize,
        read: impl FnOnce(&Snapshot) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<(T, Share), ApiError> {
        let memory = self.answer_bytes.take(account, bytes).await?;
        let thread = self.read_threads.take(account, 1).await?;
        let reader = self.reader.clone();
        // A read goes on when its caller has gone away, so it holds itself what it takes.
        let done = web::block(move || {
            let found = read(&reader.snapshot());
            drop(thread);
            found.map(|found| (found, memory))
        });
        match done.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(ApiError::internal(&error)),
        }
    }

    /// How much memory one event takes that is read, with the answer.
    pub(super) fn event_room(&self) -> usize {
        2 * usize::try_from(self.settings.event_bytes).unwrap_or(usize::MAX / 2).saturating_add(BESIDE_A_BODY)
    }
}
