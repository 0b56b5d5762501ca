//! Checks the PostgreSQL database, if that is the engine: whether it can be used, and what would make it slow or unsafe.

use crate::app;
use crate::command::doctor::context::DoctorContext;
use crate::command::doctor::finding::Finding;
use crate::storage::{DatabaseLook, look_at_database};

const DATABASE: &str = "database";
/// A transaction that is open for so long keeps dead rows.
const OLD_TRANSACTION_S: u64 = 600;

pub fn check(context: &DoctorContext) -> Vec<Finding> {
    let Some(settings) = app::store_settings(&context.config).postgres else { return Vec::new() };
    let looked = match look_at_database(&settings, context.now) {
        Ok(looked) => looked,
        Err(error) => {
            let fix = "Correct what it says; the server does not start without";
            return vec![Finding::problem(DATABASE, error.to_string(), fix)];
        }
    };
    let DatabaseLook { version, place, has_store, has_synchronous_standby, oldest_transaction_s } = looked;
    let standby = if has_synchronous_standby { "commits wait for a standby" } else { "no synchronous standby" };
    let message = format!("PostgreSQL {version} at {place}, schema {}; {standby}", settings.schema);
    let mut findings = vec![Finding::ok(DATABASE, message)];
    if !has_store {
        let message = format!("schema {} has no store yet", settings.schema);
        findings.push(Finding::warning(DATABASE, message, "Run: tempclock-webhooks init"));
    }
    if oldest_transaction_s > OLD_TRANSACTION_S {
        let message =
            format!("a transaction has been open for {oldest_transaction_s} s, and no dead row is removed meanwhile");
        findings.push(Finding::warning(DATABASE, message, "Find it in pg_stat_activity by its xact_start, and end it"));
    }
    findings
}
