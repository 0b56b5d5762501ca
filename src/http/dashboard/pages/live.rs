//! `/deliveries/live`: attempts as they are recorded, as rows for the list of deliveries, in server-sent events. One task
//! for each view on its HTTP worker: it sleeps, looks, and ends with its session or with the server.

use std::time::Duration;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Bytes;
use actix_web::{HttpResponse, rt, web};
use askama::Template;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::sleep;

use crate::domain::SubscriptionId;
use crate::domain::access::Scope;
use crate::http::api::follow::{self, Newest};
use crate::http::dashboard::answers::{Delivery, read_again};
use crate::http::dashboard::pages::filters::Filters;
use crate::http::dashboard::parts;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::chunks::{Chunk, Chunks};
use crate::http::request::error::ApiError;
use crate::http::request::extract::Query;
use crate::http::request::shares::Share;
use crate::http::request::state::HttpState;

type AppState = web::Data<HttpState>;

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// Rows in one look; nobody reads more than that in so short a time.
const ROWS: usize = 50;
/// After so many looks without a row something is sent all the same, to notice a browser that has gone.
const SILENT_LOOKS: u32 = 30;

/// Rows of the list.
#[derive(Template)]
#[template(path = "delivery_rows.html")]
struct Rows {
    deliveries: Vec<Delivery>,
}

/// `GET /deliveries/live`.
pub async fn stream(state: AppState, visitor: Visitor, query: Query) -> Result<HttpResponse, ApiError> {
    visitor.caller().require(Scope::WebhooksRead)?;
    let share = state.dashboard.streams.take(Some(visitor.account()), 1).await?;
    let position = state.recent_attempts.page(None).position;
    let (sender, receiver) = channel(1);
    let view = LiveView { state, visitor, filters: Filters::of(query), position, silent_looks: 0, _share: share };
    rt::spawn(view.run(sender));
    let body = Chunks::new(receiver, "the live view was cut off");
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/event-stream")).streaming(body))
}

struct LiveView {
    state: AppState,
    visitor: Visitor,
    filters: Filters,
    position: u64,
    silent_looks: u32,
    _share: Share,
}

impl LiveView {
    async fn run(mut self, sender: Sender<Chunk>) {
        // At once, so that the browser knows that it is connected.
        let mut next = Some(": connected\n\n".to_owned());
        loop {
            if let Some(text) = next.take()
                && sender.send(Chunk::Bytes(Bytes::from(text))).await.is_err()
            {
                return;
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = sender.closed() => return,
            }
            match self.look().await {
                Ok(text) => next = text,
                Err(words) => {
                    // Whoever has gone away needs no end.
                    let _ = sender.send(Chunk::Bytes(Bytes::from(event("end", words)))).await;
                    let _ = sender.send(Chunk::End).await;
                    return;
                }
            }
        }
    }

    /// What is new, or why nothing more comes.
    async fn look(&mut self) -> Result<Option<String>, &'static str> {
        if !self.state.vitals.accepts() {
            return Err("The server is stopping.");
        }
        if !self.visitor.is_signed_in(&self.state) {
            return Err("Your session has ended.");
        }
        let subscription = self.filters.value("subscription").parse().ok().map(SubscriptionId);
        let caller = self.visitor.caller();
        let found = follow::newest(&self.state, &caller, subscription, self.position, ROWS).await;
        // What could not be read now comes with the next look.
        let Ok(Newest { data, position, missed }) = found else { return Ok(None) };
        self.position = position;
        let rows: Vec<Delivery> = read_again(&data).map_err(|_| "The rows could not be read.")?;
        let rows: Vec<Delivery> = rows.into_iter().rev().filter(|row| self.is_wanted(row)).collect();
        self.silent_looks += 1;
        let mut text = String::new();
        if missed > 0 {
            text += &event("missed", &missed.to_string());
        }
        if !rows.is_empty() {
            let html = Rows { deliveries: rows }.render().map_err(|_| "The rows could not be shown.")?;
            text += &event("rows", &html);
        }
        if text.is_empty() && self.silent_looks >= SILENT_LOOKS {
            ": still there\n\n".clone_into(&mut text);
        }
        if text.is_empty() {
            return Ok(None);
        }
        self.silent_looks = 0;
        Ok(Some(text))
    }

    fn is_wanted(&self, delivery: &Delivery) -> bool {
        let (status, event) = (self.filters.value("status"), self.filters.value("event"));
        let has_status = status.is_empty() || status == delivery.status || (status == "held" && delivery.held);
        has_status && (event.is_empty() || event == delivery.event)
    }
}

/// An event as the browser reads it: each line of the text on a line of its own.
fn event(name: &str, text: &str) -> String {
    let mut lines = format!("event: {name}\n");
    for line in text.split(['\r', '\n']) {
        lines.extend(["data: ", line, "\n"]);
    }
    lines + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_end_its_event() {
        assert_eq!(
            event("rows", "a\n\nevent: end\r\nb"),
            "event: rows\ndata: a\ndata: \ndata: event: end\ndata: \ndata: b\n\n"
        );
    }
}
