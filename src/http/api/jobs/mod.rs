//! Jobs: list, read, stop; and what makes one, the redelivery of many and the replay. Runs on the HTTP workers; the writer does the work.

pub mod body;
pub mod erasure;

use std::time::{Duration, Instant};

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::access::Scope;
use crate::domain::job::{Job, JobState, JobTask, Replay};
use crate::domain::{AccountId, DeliveryId, FieldError, JobId, Timestamp};
use crate::http::api::events::known_type;
use crate::http::api::jobs::body::{ReplayBody, RetryBody};
use crate::http::api::subscriptions::{find, parse_id};
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Caller, JsonText, Query};
use crate::http::request::respond::{self, Pagination};
use crate::http::request::state::HttpState;
use crate::storage::command::Command;
use crate::storage::error::{Rejection, StorageError};
use crate::storage::read::reader::ReadView;

type HandlerResult = Result<HttpResponse, ApiError>;
type AppState = web::Data<HttpState>;

/// Message after a job was created.
pub const CREATED: &str = "The job runs in the background, and continues after a restart.";
/// Message after a job was stopped.
pub const STOPPED: &str = "The job is stopped; what it has already done is kept.";
const HAD_ENDED: &str = "The job had ended before.";

/// How many rows are looked at in one read to count what a job would concern.
const COUNTED_ROWS: usize = 10_000;
/// For how long a dry run counts.
const COUNTING: Duration = Duration::from_secs(2);

/// A job and its progress.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Job")]
pub struct JobView {
    id: JobId,
    /// What the job does.
    #[schemars(example = &"retry", extend("enum" = JobTask::KINDS))]
    kind: &'static str,
    /// `failed`: the job could not continue, and `error` says why.
    #[schemars(example = &"running", extend("enum" = JobState::NAMES))]
    state: &'static str,
    /// Number of deliveries that it has made due; for an erasure, of events that it has erased.
    #[schemars(example = 1200)]
    done: u64,
    /// Total number; null while that is not known.
    #[schemars(example = 20_000)]
    of: Option<u64>,
    /// When it started; null while it waits for another job of the account.
    #[schemars(example = DeliveryId::EXAMPLE.event.time())]
    started_at: Option<Timestamp>,
    /// When it ended, in any state.
    finished_at: Option<Timestamp>,
    /// Why it failed; null otherwise.
    error: Option<String>,
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            kind: job.task.kind(),
            state: job.state.name(),
            done: job.done,
            of: job.of,
            started_at: job.started_at,
            finished_at: job.finished_at,
            error: job.error,
        }
    }
}

/// The response to a request that creates a job.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CreatedJob")]
pub struct CreatedView {
    /// The job. `GET /jobs/{id}` shows its progress.
    job: JobView,
}

/// What a job would do.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JobSize")]
pub struct SizeView {
    /// Number of deliveries that would be made due.
    #[schemars(example = 20_000)]
    count: u64,
    /// False if counting stopped early, after two seconds; there are then more.
    #[schemars(example = true)]
    is_exact: bool,
}

pub async fn list(state: AppState, caller: Caller, mut query: Query) -> HandlerResult {
    let account = caller.require(Scope::WebhooksRead)?;
    let (limit, offset) = query.page_by_offset();
    query.finish()?;
    let mut jobs = state.read(caller.counted_account(), move |snapshot| snapshot.jobs(account)).await?;
    jobs.retain(|job| caller.sees(job.task.subscription()));
    let total = jobs.len();
    let page: Vec<JobView> = jobs.into_iter().skip(offset).take(limit).map(JobView::from).collect();
    Ok(respond::list(&page, &Pagination::of_whole(total, limit, offset, page.len())))
}

pub async fn read(state: AppState, caller: Caller, path: web::Path<String>) -> HandlerResult {
    let account = caller.require(Scope::WebhooksRead)?;
    let id = JobId::parse(&path).ok_or_else(missing)?;
    let jobs = state.read(caller.counted_account(), move |snapshot| snapshot.jobs(account)).await?;
    let is_it = |job: &Job| job.id == id && caller.sees(job.task.subscription());
    let job = jobs.into_iter().find(is_it).ok_or_else(missing)?;
    Ok(respond::single(HttpResponse::Ok(), &JobView::from(job)))
}

pub async fn stop(state: AppState, caller: Caller, path: web::Path<String>) -> HandlerResult {
    let account = caller.require(Scope::WebhooksWrite)?;
    let id = JobId::parse(&path).ok_or_else(missing)?;
    if !caller.sees_all() {
        let jobs = state.read(caller.counted_account(), move |snapshot| snapshot.jobs(account)).await?;
        let is_it = |job: &Job| job.id == id && caller.sees(job.task.subscription());
        jobs.into_iter().find(is_it).ok_or_else(missing)?;
    }
    let stopped = state.try_change(caller.origin(), |reply| Command::StopJob { account, id, reply }).await;
    let job = stopped.map_err(|refusal| if refusal == Rejection::NotFound { missing() } else { refusal.into() })?;
    let message = if job.state == JobState::Stopped { STOPPED } else { HAD_ENDED };
    Ok(respond::single_with_message(HttpResponse::Ok(), &JobView::from(job), message))
}

fn missing() -> ApiError {
    ApiError::not_found("job")
}

/// Redelivers all that is selected.
pub async fn retry(state: AppState, caller: Caller, body: JsonText) -> HandlerResult {
    let account = caller.require(Scope::WebhooksWrite)?;
    let counted = caller.counted_account();
    let (asked, mut errors) = body::retry(&body.text, &state.settings.catalogue.get())?;
    let RetryBody { mut selection, is_dry_run } = asked;
    if let Some(event_type) = &selection.event_type
        && let Err(unknown) = known_type(&state, (counted, account), event_type.name()).await?
    {
        errors.add(|| FieldError::new("event", unknown));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    let no_subscription = || ApiError::not_found("subscription");
    match selection.subscription {
        Some(id) => {
            state.reader.registry().subscription_of(account, caller.seen(id)?).ok_or_else(no_subscription)?;
        }
        None if caller.sees_all() => {}
        None => {
            let message = "is needed: the API key is limited to some subscriptions";
            return Err(ApiError::invalid_field("subscription", message));
        }
    }
    selection.until = Some(until_now(&state, selection.until));
    let which = selection.clone();
    let step = move |snapshot: &ReadView, after| snapshot.count_selected(account, &which, after, COUNTED_ROWS);
    if is_dry_run {
        let size = count(&state, counted, COUNTING, step).await?;
        return Ok(respond::single(HttpResponse::Ok(), &size));
    }
    let size = count(&state, counted, Duration::ZERO, step).await?;
    create(&state, &caller, account, JobTask::Retry(selection), &size).await
}

/// Delivers stored events to a subscription.
pub async fn replay(state: AppState, caller: Caller, path: web::Path<String>, body: JsonText) -> HandlerResult {
    let account = caller.require(Scope::WebhooksWrite)?;
    let id = caller.seen(parse_id(&path)?)?;
    let subscription = find(&state, account, id)?;
    if subscription.is_pull() {
        return Err(ApiError::is_a_feed(id));
    }
    let wanted = subscription.events.clone();
    let catalogue = state.settings.catalogue.get();
    let ReplayBody { since, until, events, only, is_dry_run } = body::replay(&body.text, &catalogue, &wanted)?;
    let events = events.as_ref().unwrap_or(&wanted).within(&wanted, &catalogue);
    let replay = Replay { subscription: id, events: Some(events), only, since, until: until_now(&state, until) };
    let counted = caller.counted_account();
    let which = replay.clone();
    let step = move |snapshot: &ReadView, after| snapshot.count_replay(account, &which, after, COUNTED_ROWS);
    if is_dry_run {
        let size = count(&state, counted, COUNTING, step).await?;
        return Ok(respond::single(HttpResponse::Ok(), &size));
    }
    let size = count(&state, counted, Duration::ZERO, step).await?;
    create(&state, &caller, account, JobTask::Replay(replay), &size).await
}

/// What comes later is not asked for. A millisecond more than now, as the events of the present one are.
pub(super) fn until_now(state: &AppState, until: Option<Timestamp>) -> Timestamp {
    let end = state.reader.now(state.clock.read()).plus(Duration::from_millis(1));
    until.map_or(end, |until| until.min(end))
}

async fn create(
    state: &AppState,
    caller: &Caller,
    account: AccountId,
    task: JobTask,
    size: &SizeView,
) -> HandlerResult {
    let of = size.is_exact.then_some(size.count);
    let created = state.try_change(caller.origin(), |reply| Command::CreateJob { account, task, of, reply }).await;
    let job = created.map_err(|refusal| match refusal {
        Rejection::NotFound => ApiError::not_found("subscription"),
        refusal => refusal.into(),
    })?;
    log::info!("job {} ({}) created", job.id, job.task.kind());
    Ok(respond::single_with_message(HttpResponse::Accepted(), &CreatedView { job: job.into() }, CREATED))
}

/// Counts for about that long, step by step and each of them as of another commit, so that no commit is held on to.
async fn count<C: Copy + Send + 'static>(
    state: &AppState,
    counted: Option<AccountId>,
    limit: Duration,
    step: impl Fn(&ReadView, Option<C>) -> Result<(u64, Option<C>), StorageError> + Clone + Send + 'static,
) -> Result<SizeView, ApiError> {
    let begun = Instant::now();
    let (mut count, mut after) = (0_u64, None);
    loop {
        let step = step.clone();
        let (found, next) = state.read(counted, move |snapshot| step(snapshot, after)).await?;
        count = count.saturating_add(found);
        if next.is_none() || begun.elapsed() >= limit {
            return Ok(SizeView { count, is_exact: next.is_none() });
        }
        after = next;
    }
}
