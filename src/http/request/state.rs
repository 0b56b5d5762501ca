//! State shared by all handlers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::{HttpRequest, web};
use tokio::sync::{Semaphore, oneshot};

use crate::clock::Clock;
use crate::delivery::{Dispatcher, Transport};
use crate::domain::audit::Origin;
use crate::domain::endpoint::EndpointPolicy;
use crate::domain::options::OptionLimits;
use crate::domain::options::certificate::CertificateUse;
use crate::domain::{AccountId, KeyId};
use crate::http::dashboard::activity::Activity;
use crate::http::dashboard::settings::DashboardSettings;
use crate::http::dashboard::state::DashboardState;
use crate::http::request::error::ApiError;
use crate::http::request::feed_waiters::FeedWaiters;
use crate::http::request::free_space::FreeSpace;
use crate::http::request::ping_limit::PingLimit;
use crate::http::request::rate_limit::RateLimit;
use crate::http::request::recent_attempts::RecentAttempts;
use crate::http::request::served_catalogue::ServedCatalogue;
use crate::http::request::shares::{ANSWERS_BYTES, ANSWERS_BYTES_OF_ONE, Share, Shares, WAIT};
use crate::storage::command::{Command, ReplySender};
use crate::storage::error::{Rejection, StorageError};
use crate::storage::read::reader::{ReadLimit, ReadView, Reader};
use crate::storage::write::queue::WriterHandle;

/// Limits and policies of the API.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The policy for endpoint URLs.
    pub policy: EndpointPolicy,
    /// What options of a subscription may ask for.
    pub options: OptionLimits,
    /// The client certificates that subscriptions may name.
    pub client_certificates: Vec<CertificateUse>,
    /// Time limit for a whole request to arrive.
    pub request_timeout: Duration,
    /// Maximum size of an event, in bytes.
    pub event_bytes: u64,
    /// Requests per minute and key, except publishing; 0: unlimited.
    pub management_per_minute: u32,
    /// Publish requests per minute and key; 0: unlimited.
    pub publish_per_minute: u32,
    /// Requests per minute and key to feeds; 0: unlimited.
    pub feed_per_minute: u32,
    /// Who waits for an event of a feed.
    pub feed_waiters: Arc<FeedWaiters>,
    /// Invalid keys per minute and source before responses are delayed; 0: unlimited.
    pub wrong_keys_per_minute: u32,
    /// Threads that read, of all HTTP workers together.
    pub read_threads: usize,
    /// How many of them one account may use at a time.
    pub read_threads_of_one: usize,
    /// The required free space.
    pub free_space_reserve_bytes: u64,
    /// The dashboard.
    pub dashboard: DashboardSettings,
    /// The event types that can be published.
    pub catalogue: ServedCatalogue,
}

/// Maximum bytes of request bodies in memory; beyond it callers get 503.
const ALL_BODIES_BYTES: usize = 64 * 1024 * 1024;

/// How long a list looks at rows; then its page is short.
const READ_TIME: Duration = Duration::from_millis(500);

/// State of the API.
pub struct HttpState {
    pub(in crate::http) settings: HttpSettings,
    /// The store's reader.
    pub reader: Reader,
    pub(in crate::http) writer: WriterHandle,
    pub(in crate::http) transport: Arc<Transport>,
    pub(in crate::http) dispatcher: Arc<Dispatcher>,
    /// The clock.
    pub clock: Clock,
    pub(in crate::http) vitals: Arc<Vitals>,
    pub(in crate::http) management: RateLimit<KeyId>,
    pub(in crate::http) publishing: RateLimit<KeyId>,
    pub(in crate::http) feeds: RateLimit<KeyId>,
    /// Who waits for an event of a feed.
    pub(in crate::http) feed_waiters: Arc<FeedWaiters>,
    pub(in crate::http) guesses: RateLimit<IpAddr>,
    pub(in crate::http) pings: Arc<PingLimit>,
    /// Remaining bytes for request bodies.
    pub(in crate::http) body_room: Arc<Semaphore>,
    pub(in crate::http) free_space: FreeSpace,
    /// The dashboard.
    pub(in crate::http) dashboard: DashboardState,
    /// What was attempted lately.
    pub recent_attempts: Arc<RecentAttempts>,
    read_threads: Shares,
    answer_bytes: Shares,
}

/// What is read and answered beside the body of an event: attempts with what receivers answered, above all.
const BESIDE_A_BODY: usize = 256 * 1024;

/// Readiness flags.
#[derive(Debug, Default)]
pub struct Vitals {
    /// Whether the store has failed.
    pub store_failed: AtomicBool,
    /// Whether the process is stopping.
    pub is_stopping: AtomicBool,
}

impl Vitals {
    pub(in crate::http) fn has_store(&self) -> bool {
        !self.store_failed.load(Ordering::Relaxed)
    }

    pub(in crate::http) fn accepts(&self) -> bool {
        !self.is_stopping.load(Ordering::Relaxed)
    }
}

impl HttpState {
    /// Creates the state.
    #[must_use]
    pub fn new(
        settings: HttpSettings,
        (reader, writer): (Reader, WriterHandle),
        (dispatcher, transport): (Arc<Dispatcher>, Arc<Transport>),
        clock: Clock,
        vitals: Arc<Vitals>,
        (recent_attempts, activity): (Arc<RecentAttempts>, Arc<Activity>),
    ) -> Self {
        Self {
            management: RateLimit::new(settings.management_per_minute),
            publishing: RateLimit::new(settings.publish_per_minute),
            feeds: RateLimit::new(settings.feed_per_minute),
            feed_waiters: Arc::clone(&settings.feed_waiters),
            guesses: RateLimit::new(settings.wrong_keys_per_minute),
            pings: Arc::default(),
            body_room: Arc::new(Semaphore::new(ALL_BODIES_BYTES)),
            free_space: FreeSpace::of(reader.clone()),
            read_threads: Shares::new(settings.read_threads, settings.read_threads_of_one, WAIT),
            answer_bytes: Shares::new(ANSWERS_BYTES, ANSWERS_BYTES_OF_ONE, WAIT),
            dashboard: DashboardState::new(settings.dashboard.clone(), activity),
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

    /// Whether this process delivers, which a command does not.
    #[must_use]
    pub fn runs_deliveries(&self) -> bool {
        self.dispatcher.alive_threads() > 0
    }

    /// The state of the app that a request belongs to.
    pub(in crate::http) fn of(request: &HttpRequest) -> Result<&web::Data<Self>, ApiError> {
        request.app_data().ok_or_else(|| ApiError::internal(&"the HTTP state is missing"))
    }

    /// Sends a command to the writer and awaits its reply, which comes after the commit.
    pub async fn ask<T>(&self, command: impl FnOnce(ReplySender<T>) -> Command) -> Result<T, ApiError> {
        Ok(self.try_ask(command).await?)
    }

    /// Sends a command that changes something, and is recorded in the audit.
    pub async fn change<T>(
        &self,
        origin: Origin,
        command: impl FnOnce(ReplySender<T>) -> Command,
    ) -> Result<T, ApiError> {
        Ok(self.try_change(origin, command).await?)
    }

    /// The same, with the writer's own refusal.
    pub async fn try_change<T>(
        &self,
        origin: Origin,
        command: impl FnOnce(ReplySender<T>) -> Command,
    ) -> Result<T, Rejection> {
        let audited = |reply| Command::Audited { origin: Box::new(origin), command: Box::new(command(reply)) };
        self.try_ask(audited).await
    }

    /// As [`HttpState::ask`], with the writer's own refusal.
    pub async fn try_ask<T>(&self, command: impl FnOnce(ReplySender<T>) -> Command) -> Result<T, Rejection> {
        let (reply, answer) = oneshot::channel();
        self.writer.try_send(command(reply))?;
        answer.await.unwrap_or(Err(Rejection::StoreFailed))
    }

    /// Reads beside the executor what makes a short answer, all as of one commit, in the share of an account; the operator
    /// is none.
    pub async fn read<T: Send + 'static>(
        &self,
        account: Option<AccountId>,
        read: impl FnOnce(&ReadView) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.read_much(account, 0, read).await.map(|(found, _)| found)
    }

    /// The same of what may take so much memory, with the answer. Gives with it the memory that was taken
    /// for it.
    pub(in crate::http) async fn read_much<T: Send + 'static>(
        &self,
        account: Option<AccountId>,
        bytes: usize,
        read: impl FnOnce(&ReadView) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<(T, Share), ApiError> {
        let memory = self.answer_bytes.take(account, bytes).await?;
        let thread = self.read_threads.take(account, 1).await?;
        let reader = self.reader.clone();
        // It ends soon after its caller has gone away, and until then holds itself what it takes.
        let (limit, _give_up) = ReadLimit::after(READ_TIME);
        let done = web::block(move || {
            let found = read(&reader.view_within(limit));
            drop(thread);
            found.map(|found| (found, memory))
        });
        match done.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(ApiError::internal(&error)),
        }
    }

    /// How much memory one event takes that is read, with the answer.
    pub(in crate::http) fn event_room(&self) -> usize {
        2 * usize::try_from(self.settings.event_bytes).unwrap_or(usize::MAX / 2).saturating_add(BESIDE_A_BODY)
    }
}
