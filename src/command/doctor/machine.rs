//! Checks of the machine: permissions of the data folder and of files with secrets, free disk space, the clock.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use rustix::fs::Access;

use super::file_system::has_mount_rights;
use super::finding::Finding;
use crate::app;
use crate::command::doctor::context::DoctorContext;
use crate::config::StorageEngine;
use crate::descriptors::{Shares, limit_of};
use crate::domain::Timestamp;
use crate::domain::timestamp::span_in_words;
use crate::storage::maintenance::{Maintenance, Presence, Room};

const FOLDER: &str = "data folder";
const DISK: &str = "disk";
const CLOCK: &str = "clock";
const DESCRIPTORS: &str = "descriptors";
/// Plausible years; a clock that was never set is before, a broken one after.
const YEARS: std::ops::RangeInclusive<u32> = 2025..=2099;
/// The newest event may seem to be from so far ahead: ids only grow, also when the clock is corrected, and after a crash
/// the time goes on a minute later than was noted.
const AHEAD: Duration = Duration::from_mins(2);
/// Shorter times that do not count for retention are of no interest.
const LEFT_OUT: Duration = Duration::from_hours(24);

pub fn data_folder(context: &DoctorContext) -> Vec<Finding> {
    let folder = &context.config.storage.data_dir;
    let shown = folder.display();
    let found = match fs::metadata(folder) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => {
            return vec![Finding::problem(
                FOLDER,
                format!("{shown} is not a folder"),
                "Point storage.data_dir at a folder",
            )];
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let fix = "If it held a database, mount it or move it back, or restore a backup; for a new one, run \
                       tempclock-webhooks init as the user that the server runs as";
            return vec![Finding::problem(FOLDER, format!("{shown} does not exist"), fix)];
        }
        Err(error) => {
            let fix = "Run doctor as the user that the server runs as";
            return vec![Finding::problem(FOLDER, format!("{shown} cannot be accessed: {error}"), fix)];
        }
    };
    let mut findings = Vec::new();
    if rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let fix = if found.uid() == rustix::process::geteuid().as_raw() {
            format!("chmod u+rwx {shown}; if that does not help, its disk is mounted read-only")
        } else {
            let owner = app::user_name(found.uid());
            format!("Run it as the folder's owner: sudo -u {owner} tempclock-webhooks doctor")
        };
        findings.push(Finding::problem(FOLDER, format!("{shown} cannot be written by this user"), fix));
    }
    findings.extend(open_to_others(folder, &found, "700"));
    let files = Maintenance::of(folder);
    for path in files.private_files() {
        let Ok(file) = fs::metadata(&path) else { continue };
        findings.extend(open_to_others(&path, &file, "600"));
        if file.uid() != found.uid() {
            let message = format!("{} belongs to a different user than the folder", path.display());
            let fix = format!(
                "chown --reference={shown} {}; run commands as the user that the server runs as",
                path.display()
            );
            findings.push(Finding::problem(FOLDER, message, fix));
        }
    }
    if context.config.storage.engine == StorageEngine::Embedded {
        findings.extend(no_database(context, &files));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(FOLDER, format!("{shown}: exists, is writable, and other users have no access")));
    }
    findings
}

/// A store that was never made is another thing than one whose file is gone.
fn no_database(context: &DoctorContext, files: &Maintenance<'_>) -> Option<Finding> {
    match files.presence() {
        Presence::Present => None,
        Presence::Never if context.control.is_none() => {
            let message = format!("{} has no database yet", context.config.storage.data_dir.display());
            Some(Finding::warning(FOLDER, message, "Run: tempclock-webhooks init"))
        }
        Presence::Never | Presence::Missing => {
            let [database, ..] = files.private_files();
            let message = format!("{} is missing: it was removed or moved away", database.display());
            let fix = "Put it back, or restore a backup: tempclock-webhooks restore FILE";
            Some(Finding::problem(FOLDER, message, fix))
        }
    }
}

/// Checks the files named in the configuration.
pub fn files(context: &DoctorContext) -> Vec<Finding> {
    let config = &context.config;
    let secrets = [
        &config.server.tls_key,
        &config.storage.encryption_key_file,
        &config.storage.postgres_url_file,
        &config.delivery.proxy_credentials_file,
    ];
    let keys = config.delivery.client_certificates.iter().map(|files| &files.key);
    let there = secrets.into_iter().flatten().chain(keys).filter_map(|path| Some((path, fs::metadata(path).ok()?)));
    let open = there.filter_map(|(path, file)| open_to_others(path, &file, "600"));
    let problems = app::check_files(config).into_iter();
    let fix = "Correct the path, the file, or its permissions";
    let aging = app::certificate_warnings(config, context.now).into_iter();
    let unencrypted = config.storage.encryption_key_file.is_none().then(|| {
        Finding::ok("secrets", "signing secrets are stored unencrypted; storage.encryption_key_file would encrypt them")
    });
    let renew = "Replace it with a new one, then: systemctl reload tempclock-webhooks";
    open.chain(problems.map(|problem| Finding::problem("files", problem, fix)))
        .chain(aging.map(|warning| Finding::warning("files", warning, renew)))
        .chain(unencrypted)
        .collect()
}

fn open_to_others(path: &Path, found: &Metadata, mode: &str) -> Option<Finding> {
    let bits = found.permissions().mode() & 0o777;
    (bits & 0o077 != 0).then(|| {
        let message = format!("{} is accessible to other users (mode {bits:o})", path.display());
        let fix = if has_mount_rights(path) {
            "chmod may have no effect on this file system: mount it with the options uid=, gid= and umask=077"
                .to_owned()
        } else {
            format!("chmod {mode} {}", path.display())
        };
        Finding::warning(FOLDER, message, fix)
    })
}

pub fn disk(context: &DoctorContext) -> Vec<Finding> {
    let storage = &context.config.storage;
    // The disk of a database server is its own.
    if storage.engine == StorageEngine::Postgres {
        return Vec::new();
    }
    let Room { folder, free_bytes, occupied_bytes } = Maintenance::of(&storage.data_dir).room();
    let Some(free) = free_bytes else {
        let fix = "Check the file system with: df";
        return vec![Finding::warning(DISK, format!("{} does not report its free space", folder.display()), fix)];
    };
    let reserve = storage.free_space_reserve_bytes;
    let size = |bytes| ByteSize::b(bytes).display().iec().to_string();
    let its_size = occupied_bytes.map_or_else(|| "a size that this user cannot see".to_owned(), size);
    let occupied = occupied_bytes.unwrap_or_default();
    let message = format!("{} free, {} reserved, the database takes up {its_size}", size(free), size(reserve));
    vec![if free < reserve {
        let fix = "Publishing is refused: free some space, or lower storage.free_space_reserve";
        Finding::problem(DISK, message, fix)
    } else if free < reserve.saturating_add(occupied) {
        Finding::warning(
            DISK,
            message,
            "A backup may not fit on this disk: free some space, or write it to another one",
        )
    } else {
        Finding::ok(DISK, message)
    }]
}

/// Whether the running server may have as many files and connections open as its configuration asks for.
pub fn descriptors(context: &DoctorContext) -> Vec<Finding> {
    let server = app::control_socket(&context.config).server();
    // Without a server nothing is known: this user's limit is not the server's.
    let Some(limit) = server.and_then(limit_of) else { return Vec::new() };
    let config = &context.config;
    let shares = Shares::of(limit, config.server.max_connections);
    if let Some(shortage) = shares.shortage(limit, config.server.max_connections, config.delivery.threads) {
        let fix = "Raise LimitNOFILE of the unit, or ulimit -Hn before the start, or lower server.max_connections";
        return vec![Finding::warning(DESCRIPTORS, shortage, fix)];
    }
    let (callers, endpoints) = (config.server.max_connections, shares.endpoint_connections);
    let message = format!(
        "the limit of {limit} open files is enough for {callers} client connections and {endpoints} connections to endpoints"
    );
    vec![Finding::ok(DESCRIPTORS, message)]
}

pub fn clock(now: Timestamp, newest: Option<Timestamp>) -> Finding {
    let shown = now.to_string();
    let year: u32 = shown.get(..4).and_then(|year| year.parse().ok()).unwrap_or_default();
    let set = "Set the clock and keep it right: timedatectl set-ntp true";
    if !YEARS.contains(&year) {
        return Finding::problem(CLOCK, format!("it says {shown}"), set);
    }
    match newest {
        Some(newest) if newest.since(now) > AHEAD => {
            let behind = humantime::format_duration(Duration::from_secs(newest.since(now).as_secs()));
            Finding::problem(CLOCK, format!("it says {shown}, {behind} before the newest event"), set)
        }
        Some(newest) => Finding::ok(CLOCK, format!("it says {shown}; the newest event is from {newest}")),
        None => Finding::ok(CLOCK, format!("it says {shown}")),
    }
}

/// Time that does not count for retention, if it is so much that disk space may be missed.
pub fn left_out(span: Duration) -> Option<Finding> {
    let message = format!(
        "{} do not count for retention, because the server was stopped or the clock was set",
        span_in_words(span)
    );
    let fix =
        "No action needed. If the clock is right and that time should count, run: tempclock-webhooks clock confirm";
    (span >= LEFT_OUT).then(|| Finding::warning(CLOCK, message, fix))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_right_is_a_problem() {
        let now = Timestamp::parse("2026-03-02T08:00:00Z").unwrap();
        let level = |now: &str, newest: Option<Timestamp>| clock(Timestamp::parse(now).unwrap(), newest).level;
        assert_eq!(level("1970-01-01T00:01:00Z", None), Level::Problem);
        assert_eq!(level("2100-01-01T00:00:00Z", None), Level::Problem);
        assert_eq!(level("2026-03-02T08:00:00Z", None), Level::Ok);
        assert_eq!(level("2026-03-02T07:59:30Z", Some(now)), Level::Ok, "a step of seconds is nothing");
        assert_eq!(level("2026-03-02T07:50:00Z", Some(now)), Level::Problem);
    }
}
