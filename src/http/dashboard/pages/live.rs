//! `/deliveries/live`: attempts as they are recorded, as rows for the list of deliveries, in server-sent events. One task
//! for each view on its HTTP worker: it sends the frames that it shares with others, and ends with its session or with
//! the server.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Bytes;
use actix_web::{HttpResponse, rt, web};
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::watch::Receiver;
use tokio::time::sleep;

use crate::http::dashboard::looks::Frame;
use crate::http::dashboard::pages::filters::Filters;
use crate::http::dashboard::pages::look::{PAUSE, event, look, wanted};
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::chunks::{Chunk, Chunks};
use crate::http::request::error::ApiError;
use crate::http::request::extract::Query;
use crate::http::request::shares::Share;
use crate::http::request::state::HttpState;

type AppState = web::Data<HttpState>;

/// After so many pauses without a row something is sent all the same, to notice a browser that has gone.
const SILENT_PAUSES: u32 = 30;

/// `GET /deliveries/live`.
pub async fn stream(state: AppState, visitor: Visitor, query: Query) -> Result<HttpResponse, ApiError> {
    let share = state.dashboard.streams.take(Some(visitor.account()), 1).await?;
    let (frames, entry) = state.dashboard.looks.follow(wanted(&visitor.caller(), &Filters::of(query))?);
    if let Some(entry) = entry {
        // Before the browser is told that it is connected.
        let position = state.recent_attempts.page(None).position;
        rt::spawn(look(state.clone(), visitor.caller(), entry, position));
    }
    let counted = frames.borrow().counted;
    let (sender, receiver) = channel(1);
    rt::spawn(LiveView { state, visitor, frames, counted, _share: share }.run(sender));
    let body = Chunks::new(receiver, "the live view was interrupted");
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/event-stream")).streaming(body))
}

struct LiveView {
    state: AppState,
    visitor: Visitor,
    frames: Receiver<Frame>,
    /// How many attempts came until the last frame.
    counted: u64,
    _share: Share,
}

impl LiveView {
    async fn run(mut self, sender: Sender<Chunk>) {
        // At once, so that the browser knows that it is connected.
        let mut next = Bytes::from_static(b": connected\n\n");
        let mut silent_pauses = 0;
        loop {
            if !next.is_empty() && sender.send(Chunk::Bytes(next)).await.is_err() {
                return;
            }
            let changed = tokio::select! {
                changed = self.frames.changed() => changed.map(|()| true),
                () = sleep(PAUSE) => Ok(false),
                () = sender.closed() => return,
            };
            if let Err(words) = self.may_go_on(changed.is_ok()) {
                // Whoever has gone away needs no end.
                let _ = sender.send(Chunk::Bytes(Bytes::from(event("end", words)))).await;
                let _ = sender.send(Chunk::End).await;
                return;
            }
            next = if changed.unwrap_or(false) { self.news() } else { Bytes::new() };
            silent_pauses += 1;
            if !next.is_empty() {
                silent_pauses = 0;
            } else if silent_pauses >= SILENT_PAUSES {
                silent_pauses = 0;
                next = Bytes::from_static(b": still there\n\n");
            }
        }
    }

    /// Or why nothing more comes.
    fn may_go_on(&self, is_followed: bool) -> Result<(), &'static str> {
        if !self.state.vitals.accepts() {
            return Err("The server is stopping.");
        }
        if !self.visitor.is_signed_in(&self.state) {
            return Err("Your session has ended.");
        }
        if is_followed { Ok(()) } else { Err("The rows could not be shown.") }
    }

    /// What is new since the last frame. A browser that reads slowly gets the newest frame, and the number of attempts in
    /// those that it did not get.
    fn news(&mut self) -> Bytes {
        let Frame { rows, before, counted } = self.frames.borrow_and_update().clone();
        let missed = before.saturating_sub(self.counted);
        self.counted = counted;
        if missed == 0 {
            return rows;
        }
        let mut text = event("missed", &missed.to_string()).into_bytes();
        text.extend_from_slice(&rows);
        Bytes::from(text)
    }
}
