//! The operator's routes for the clock: how much time does not count for retention, and to say that the clock is right.
//! Runs on the control socket's worker.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::domain::timestamp::span_in_words;
use crate::http::HttpState;
use crate::http::request::error::ApiError;
use crate::http::request::extract::OperatorOrigin;
use crate::http::request::respond;
use crate::storage::command::Command;
use crate::storage::read::reader::ReadView;

type Answer = Result<HttpResponse, ApiError>;
type State = web::Data<HttpState>;

pub async fn show(state: State) -> Answer {
    let clocks = state.clock.read();
    // What is not believed yet does not count either.
    let doubted = clocks.wall.since(state.reader.now(clocks));
    let left_out = state.read(None, ReadView::left_out).await?.saturating_add(doubted);
    Ok(respond::single(HttpResponse::Ok(), &json!({"now": clocks.wall, "left_out_s": left_out.as_secs()})))
}

pub async fn confirm(state: State, OperatorOrigin(origin): OperatorOrigin) -> Answer {
    let counted = state.change(origin, |reply| Command::ConfirmClock { reply }).await?;
    let (now, event_time) = (state.clock.wall(), state.reader.now(state.clock.read()));
    log::info!("clock confirmed; {} of excluded time now count for retention", span_in_words(counted));
    Ok(respond::single(
        HttpResponse::Ok(),
        &json!({"now": now, "counted_s": counted.as_secs(), "event_time": event_time}),
    ))
}
