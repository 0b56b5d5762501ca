//! Checks the PostgreSQL database, if that is the engine: whether it can be used, and what would make it slow or unsafe.

use bytesize::ByteSize;

use crate::app;
use crate::clock::Clock;
use crate::command::doctor::context::DoctorContext;
use crate::command::doctor::finding::Finding;
use crate::storage::{DatabaseLook, HostLook, HostRole, StandbysLook, look_at_database};

const DATABASE: &str = "database";
/// A transaction that is open for so long keeps dead rows.
const OLD_TRANSACTION_S: u64 = 600;
/// Clocks that are further apart than this are not set by the network.
const CLOCKS_APART_S: i64 = 5;
/// What a server takes, and one for a command beside it.
const CONNECTIONS_NEEDED: i64 = 11;
/// A standby that is further behind takes a while to take over.
const LAG_BYTES: u64 = 256 * 1024 * 1024;
/// More dead rows than this, and more than live ones, are not removed as they should be.
const DEAD_ROWS: u64 = 100_000;

pub fn check(context: &DoctorContext) -> Vec<Finding> {
    let Some(settings) = app::store_settings(&context.config).postgres else { return Vec::new() };
    match look_at_database(&settings, Clock::start().wall()) {
        // The connections of a server that runs are among those that are taken.
        Ok(looked) => assess(&looked, &settings.schema, context.control.is_some()),
        Err(error) => {
            let fix = "Fix that; the server does not start otherwise";
            vec![Finding::problem(DATABASE, error.to_string(), fix)]
        }
    }
}

fn assess(looked: &DatabaseLook, schema: &str, is_up: bool) -> Vec<Finding> {
    let DatabaseLook { version, place, synchronous_names, standbys, .. } = looked;
    let waits = match (synchronous_names.as_str(), standbys.connected) {
        ("", 0) => "no synchronous standby".to_owned(),
        ("", connected) => format!("no synchronous standby, {connected} asynchronous"),
        _ => "commits wait for a standby".to_owned(),
    };
    let mut findings =
        vec![Finding::ok(DATABASE, format!("PostgreSQL {version} at {place}, schema {schema}; {waits}"))];
    let mut add = |finding: fn(&'static str, String, String) -> Finding, message: String, fix: &str| {
        findings.push(finding(DATABASE, message, fix.to_owned()));
    };
    if looked.closed_tables > 0 {
        let message = format!("the database user may not read and write {} tables of {schema}", looked.closed_tables);
        add(Finding::problem, message, "Make it the owner of the schema and its tables");
    } else if !looked.has_store {
        add(Finding::warning, format!("schema {schema} has no store yet"), "Run: tempclock-webhooks init");
    }
    if !looked.is_synced {
        let message = "fsync or full_page_writes is off: a power cut can lose or damage acknowledged data".to_owned();
        add(Finding::problem, message, "Set both to on in postgresql.conf, and reload it");
    }
    if let Some((message, fix)) = waits_in_vain(synchronous_names, standbys) {
        add(Finding::problem, message, fix);
    }
    if standbys.lag_bytes > LAG_BYTES {
        let message = format!("a standby is {} of the log behind", ByteSize(standbys.lag_bytes));
        add(Finding::warning, message, "Check its disk and network; until it has caught up, a takeover is slow");
    }
    for (message, fix) in hosts(&looked.hosts) {
        add(Finding::warning, message, fix);
    }
    if let Some((slot, bytes)) = &looked.unused_slot {
        let message = format!(
            "no standby reads the replication slot {slot}, and {} of the log are kept for it",
            ByteSize(*bytes)
        );
        add(
            Finding::warning,
            message,
            "Start its standby, or drop the slot with pg_drop_replication_slot: otherwise the disk fills up",
        );
    }
    if looked.clock_ahead_s.abs() > CLOCKS_APART_S {
        let (seconds, way) = (looked.clock_ahead_s.abs(), if looked.clock_ahead_s > 0 { "ahead of" } else { "behind" });
        let message = format!("the database server's clock is {seconds} s {way} this machine's");
        add(Finding::warning, message, "Correct the clock that is wrong, for example with timedatectl set-ntp true");
    }
    if !is_up && looked.connections_left < CONNECTIONS_NEEDED {
        let message =
            format!("{} connections are left, and a server needs {CONNECTIONS_NEEDED}", looked.connections_left.max(0));
        add(Finding::warning, message, "Raise max_connections or the user's CONNECTION LIMIT, or close others");
    }
    if looked.oldest_transaction_s > OLD_TRANSACTION_S {
        let open_s = looked.oldest_transaction_s;
        let message = format!("a transaction has been open for {open_s} s, and until it ends no dead row is removed");
        add(Finding::warning, message, "Find it in pg_stat_activity by its xact_start, and end it");
    }
    if !looked.has_autovacuum {
        add(Finding::problem, "autovacuum is off: dead rows are never removed".to_owned(), "Set autovacuum to on");
    }
    if let Some((table, dead, live)) = &looked.dead_rows
        && *dead > DEAD_ROWS
        && dead > live
    {
        let message = format!("table {table} has {dead} dead rows and {live} live ones");
        add(
            Finding::warning,
            message,
            "Run VACUUM on it, and check what blocks autovacuum: an old transaction or replication slot",
        );
    }
    findings
}

/// Commits that wait for more standbys than there are hang.
fn waits_in_vain(names: &str, standbys: &StandbysLook) -> Option<(String, &'static str)> {
    if names.is_empty() {
        return None;
    }
    // ANY 2 (a, b), FIRST 2 (a, b), 2 (a, b), or a, b, which is one.
    let number = names.split('(').next().filter(|_| names.contains('('));
    let needed = number.and_then(|words| words.split_whitespace().next_back()?.parse().ok()).unwrap_or(1_u64);
    let seen = standbys.synchronous + standbys.unseen;
    (seen < needed).then(|| {
        let message = format!(
            "commits wait for {needed} standby of synchronous_standby_names = '{names}', and {seen} of them is connected: nothing is acknowledged"
        );
        (message, "Start the standby; if there is none, remove it from synchronous_standby_names and reload")
    })
}

fn hosts(hosts: &[HostLook]) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for HostLook { name, role } in hosts {
        if let HostRole::Fails(reason) = role {
            let fix = "Start it, or remove it from storage.postgres.url_file";
            found.push((format!("host {name} cannot be used: {reason}"), fix));
        }
    }
    let primary: Vec<&str> = hosts
        .iter()
        .filter(|host| matches!(host.role, HostRole::TakesWrites(_)))
        .map(|host| host.name.as_str())
        .collect();
    if primary.len() > 1 {
        let message = format!("{} all accept writes, so one of them is a former primary", primary.join(" and "));
        found.push((message, "Stop the former primary, and make it a standby with pg_rewind or pg_basebackup"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_that_wait_for_more_standbys_than_there_are_are_a_problem() {
        let with = |synchronous, unseen| StandbysLook { connected: synchronous, synchronous, unseen, lag_bytes: 0 };
        let is_vain = |names, standbys: &StandbysLook| waits_in_vain(names, standbys).is_some();
        assert!(!is_vain("", &with(0, 0)));
        assert!(is_vain("*", &with(0, 0)) && !is_vain("*", &with(1, 0)) && !is_vain("a, b", &with(1, 0)));
        for names in ["ANY 2 (a, b, c)", "FIRST 2 (a, b)", "2 (a, b)"] {
            assert!(is_vain(names, &with(1, 0)) && !is_vain(names, &with(2, 0)), "{names}");
        }
        assert!(!is_vain("a", &with(0, 1)), "one that may not be looked at may be it");
    }
}
