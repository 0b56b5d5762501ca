//! Checks that alerts get out: how each way does in the running server.

use serde_json::Value;

use crate::command::doctor::context::DoctorContext;
use crate::command::doctor::finding::Finding;

const ALERTS: &str = "alerts";
const FIX: &str =
    "Test it with: tempclock-webhooks alerts test; then correct [alerts] in the configuration, or the recipient's side";

/// What is to say of alerts, if anybody is told.
pub fn check(context: &DoctorContext) -> Vec<Finding> {
    let (true, Some(control)) = (context.config.alerts.is_on(), &context.control) else { return Vec::new() };
    let answer = match control.send("GET", "/control/alerts", &[], None) {
        Ok(answer) if answer.status == 200 => answer.json,
        // An earlier version of the server knows none, and what else is wrong is told by another check.
        _ => return Vec::new(),
    };
    let ways = answer["data"]["ways"].as_array().map_or(&[][..], Vec::as_slice);
    let waiting = answer["data"]["waiting"].as_u64().unwrap_or_default();
    let failing: Vec<Finding> = ways.iter().filter_map(|way| failing(way, waiting)).collect();
    if failing.is_empty() {
        return vec![Finding::ok(ALERTS, format!("{} channels, none failing, {waiting} alerts waiting", ways.len()))];
    }
    failing
}

fn failing(way: &Value, waiting: u64) -> Option<Finding> {
    let error = way["error"].as_str()?;
    let (name, since) = (way["way"].as_str().unwrap_or_default(), way["failing_since"].as_str().unwrap_or_default());
    Some(Finding::problem(ALERTS, format!("{name} has failed since {since}: {error} ({waiting} alerts waiting)"), FIX))
}
