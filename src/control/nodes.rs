//! The operator's route for the servers that use the store. Runs on the control socket's worker.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use crate::http::HttpState;
use crate::http::request::error::ApiError;
use crate::http::request::respond;
use crate::storage::nodes::{NodeState, NodeStatus};

pub async fn list(state: web::Data<HttpState>) -> Result<HttpResponse, ApiError> {
    let reader = state.reader.clone();
    let nodes = web::block(move || reader.nodes()).await.map_err(|error| ApiError::internal(&error))??;
    // The one that has the store answers this; a command that has it for itself is no server.
    let alone =
        || if state.runs_deliveries() { vec![NodeStatus::alone(env!("CARGO_PKG_VERSION"))] } else { Vec::new() };
    let oldest = state.read(None, |snapshot| Ok(snapshot.backlog()?.oldest)).await?;
    let lag = oldest.map_or(Duration::ZERO, |oldest| state.clock.wall().since(oldest));
    let rows: Vec<Value> = nodes.unwrap_or_else(alone).iter().map(|node| row(node, lag)).collect();
    Ok(respond::single(HttpResponse::Ok(), &rows))
}

/// Times in seconds. What is sent is sent by the active one, so the lag is its.
fn row(node: &NodeStatus, lag: Duration) -> Value {
    let seconds = |span: Duration| (span.as_secs_f64() * 10.0).round() / 10.0;
    json!({
        "node": node.name,
        "state": node.state.name(),
        "version": node.version,
        "seen_s": seconds(node.seen_ago),
        "lease_s": node.lease_left.map(seconds),
        "lag_s": (node.state == NodeState::Active).then(|| seconds(lag)),
    })
}
