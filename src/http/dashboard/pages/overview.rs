//! `/`: what needs somebody, and how things are. Runs on the HTTP workers.

use actix_web::{HttpResponse, web};
use askama::Template;

use crate::domain::Timestamp;
use crate::domain::access::Scope;
use crate::domain::subscription::DisabledReason;
use crate::http::api::{deliveries, events, subscriptions};
use crate::http::dashboard::answers::{Attempt, Delivery, Event, List, One, Subscription, read};
use crate::http::dashboard::chart::{self, Chart};
use crate::http::dashboard::frame::{Frame, page};
use crate::http::dashboard::parts;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::Query;
use crate::http::request::state::HttpState;

type AppState = web::Data<HttpState>;

/// Endpoints in trouble that are shown with their last error.
const SHOWN: usize = 20;
/// Events that are shown.
const EVENTS: &str = "10";
/// Subscriptions in one answer of the API.
const PAGE: usize = 100;
/// Pages of subscriptions that are looked at.
const PAGES: usize = 10;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    subscriptions: usize,
    troubled: Vec<Troubled>,
    /// How many more there are.
    unnamed: usize,
    cards: Vec<Card>,
    chart: Option<Chart>,
    events: Vec<Event>,
    url: String,
}

/// An endpoint that fails, or was turned off by failures, or a feed that is behind.
struct Troubled {
    id: u32,
    name: String,
    kind: &'static str,
    state: &'static str,
    since_words: &'static str,
    since: String,
    reason: String,
    last_error: String,
}

/// How many deliveries are in a state.
struct Card {
    status: &'static str,
    meaning: &'static str,
    count: u64,
}

const CARDS: [(&str, &str); 5] = [
    ("pending", "waiting, in flight or to be retried"),
    ("held", "their subscription is disabled"),
    ("exhausted", "every retry failed"),
    ("expired", "held for too long"),
    ("delivered", "accepted by the endpoint"),
];

/// `GET /`.
pub async fn show(state: AppState, visitor: Visitor, asked: Query) -> Result<HttpResponse, ApiError> {
    let frame = Frame::of(&visitor, "Overview", "/");
    let url = state.dashboard.settings.link("");
    let mut shown = OverviewPage {
        frame,
        subscriptions: 0,
        troubled: Vec::new(),
        unnamed: 0,
        cards: Vec::new(),
        chart: None,
        events: Vec::new(),
        url,
    };
    if visitor.may(Scope::WebhooksRead) {
        let all = subscriptions(&state, &visitor).await?;
        shown.subscriptions = all.len();
        let (now, limit) = (state.clock.wall(), state.dashboard.settings.feed_behind_after);
        let is_behind =
            |since: &str| !limit.is_zero() && Timestamp::parse(since).is_some_and(|since| now.since(since) >= limit);
        let mut troubled: Vec<_> = all.into_iter().filter_map(|one| Troubled::of(one, is_behind)).collect();
        // What was turned off is worse than what fails.
        troubled.sort_by_key(|one| (one.kind != "bad", one.id));
        shown.unnamed = troubled.len().saturating_sub(SHOWN);
        troubled.truncate(SHOWN);
        for one in &mut troubled {
            one.last_error = last_error(&state, &visitor, one.id).await?;
        }
        shown.troubled = troubled;
        for (status, meaning) in CARDS {
            let query = query(&[("limit", "1"), ("status", status)]);
            let found: List<Delivery> = read(deliveries::list(state.clone(), visitor.caller(), query).await).await?;
            shown.cards.push(Card { status, meaning, count: found.pagination.total as u64 });
        }
        shown.chart = Some(chart_of_all(&state, &visitor, asked.get(chart::RANGE)));
    }
    if visitor.may(Scope::EventsRead) {
        let query = query(&[("limit", EVENTS)]);
        let found: List<Event> = read(events::list(state.clone(), visitor.caller(), query).await).await?;
        shown.events = found.data;
    }
    page(&shown)
}

/// What all subscriptions that the visitor sees have attempted.
fn chart_of_all(state: &AppState, visitor: &Visitor, range: Option<&str>) -> Chart {
    let (registry, account, caller) = (state.reader.registry(), visitor.account(), visitor.caller());
    let sees = caller.sight();
    let is_own = |id| registry.subscription_of(account, id).is_some() && sees(id);
    Chart::of(&state.dashboard.activity.history(), state.clock.wall(), range, "/", is_own)
}

fn query(pairs: &[(&str, &str)]) -> Query {
    Query::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

/// The visitor's subscriptions.
async fn subscriptions(state: &AppState, visitor: &Visitor) -> Result<Vec<Subscription>, ApiError> {
    let mut all = Vec::new();
    for number in 0..PAGES {
        let query = query(&[("limit", &PAGE.to_string()), ("offset", &(number * PAGE).to_string())]);
        let found: List<Subscription> = read(subscriptions::list(state.clone(), visitor.caller(), query).await).await?;
        all.extend(found.data);
        if !found.pagination.has_more {
            break;
        }
    }
    Ok(all)
}

async fn last_error(state: &AppState, visitor: &Visitor, id: u32) -> Result<String, ApiError> {
    let path = web::Path::from(id.to_string());
    let found: One<Subscription> = read(subscriptions::read(state.clone(), visitor.caller(), path).await).await?;
    let last = found.data.recent_deliveries.into_iter().next();
    Ok(last.and_then(|Attempt { error, .. }| error).unwrap_or_default())
}

impl Troubled {
    /// If it is in trouble.
    fn of(subscription: Subscription, is_behind: impl Fn(&str) -> bool) -> Option<Self> {
        let Subscription { id, url, description, active, disabled_reason, disabled_at, failing_since, .. } =
            subscription;
        let unacknowledged_since = subscription.unacknowledged_since.filter(|since| is_behind(since));
        let name = match (description.is_empty(), url.is_empty()) {
            (true, true) => "feed".to_owned(),
            (true, false) => url,
            (false, true) => format!("{description} (feed)"),
            (false, false) => format!("{description} ({url})"),
        };
        let last_error = String::new();
        match (active, failing_since, unacknowledged_since) {
            (false, ..) if disabled_reason != DisabledReason::Owner.words() => Some(Self {
                id,
                name,
                kind: "bad",
                state: "disabled",
                since_words: "Disabled since",
                since: disabled_at,
                reason: disabled_reason,
                last_error,
            }),
            (true, Some(since), _) => Some(Self {
                id,
                name,
                kind: "warn",
                state: "failing",
                since_words: "Every attempt has failed since",
                since,
                reason: String::new(),
                last_error,
            }),
            (true, None, Some(since)) => Some(Self {
                id,
                name,
                kind: "warn",
                state: "behind",
                since_words: "Its reader has not acknowledged events stored since",
                since,
                reason: String::new(),
                last_error,
            }),
            _ => None,
        }
    }
}
