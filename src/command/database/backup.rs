//! `backup`, `restore`, `verify`, `compact`: operations on the whole database.

use std::io::{self, Read as _, Write};
use std::path::Path;

use bytesize::ByteSize;
use serde_json::json;

use crate::app;
use crate::cli::ConfigArgs;
use crate::clock::Clock;
use crate::command::client::control_api::{ask, require_store, with_store};
use crate::command::console::output::{counted, put, put_json, put_table, say};
use crate::command::console::progress::bar;
use crate::command::database::engine::require_embedded;
use crate::command::failure::{failed, start_failure};
use crate::command::{Exit, Outcome, config};
use crate::config::Config;
use crate::control::client;
use crate::domain::Timestamp;
use crate::storage::maintenance::{self, BackupError, BackupFileError, Maintenance, Presence, Restored, Verified};

/// Writes a backup under a temporary name and renames it when it is complete; `-` is stdout.
pub fn back_up(args: &ConfigArgs, output: &str) -> Outcome {
    let config = config::load(args, Vec::new())?.config;
    let schema = &config.storage.postgres_schema;
    require_embedded(&config, "backup", &format!("use pg_dump --schema={schema}, or pg_basebackup"))?;
    require_store(&config)?;
    // What it holds is no older.
    let begun = Clock::start().wall();
    if output == "-" {
        let copied = copy_backup(&config, &mut io::stdout().lock());
        copied.map_err(|(exit, error)| (exit, format!("the backup to stdout is incomplete: {error}")))?;
        note(&config, begun);
        return Ok(());
    }
    let not_written = |error: BackupFileError| {
        let exit = if matches!(error, BackupFileError::NoBackup(_)) { Exit::Usage } else { Exit::Failed };
        (exit, error.to_string())
    };
    let files = Maintenance::of(&config.storage.data_dir);
    let file = files.backup_file(Path::new(output), config.storage.free_space_reserve_bytes);
    let mut file = file.map_err(not_written)?;
    copy_backup(&config, &mut file)?;
    let finished = file.finish().map_err(not_written)?;
    if let Some(error) = finished.unsynced {
        say(&format!("{error}; the backup is complete, but a power cut now may lose its name"));
    }
    note(&config, begun);
    say(&format!("{output}: {} bytes, complete. Check it again with: verify {output}", finished.bytes));
    Ok(())
}

/// Notes in the store that there is a backup. The backup is as good without.
fn note(config: &Config, at: Timestamp) {
    let body = json!({"at": at});
    let noted = with_store(config, |client| ask(client, "POST", "/control/backup/note", &[], Some(&body)));
    if let Err((_, error)) = noted {
        say(&format!("The backup could not be recorded in the database: {error}"));
    }
}

/// From the running server, otherwise from the file.
fn copy_backup(config: &Config, out: &mut impl Write) -> Outcome {
    if let Some(client) = client::connect(&app::control_socket(config)) {
        let mut stream = client.back_up().map_err(failed)?;
        // Free pages are not sent, so this is an upper bound.
        let bar = bar(Maintenance::of(&config.storage.data_dir).length_bytes(), BYTES);
        let copied = io::copy(&mut bar.wrap_read(stream.by_ref()), out);
        bar.finish_and_clear();
        return copied.and_then(|_| out.flush()).map_err(failed);
    }
    let clock = Clock::start();
    let opened = app::open_store(config, clock).map_err(|error| start_failure(&error))?;
    let bar = bar(0, ROWS);
    let written = opened.reader().back_up(out, clock.wall(), &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    written.map(drop).map_err(failed)
}

const BYTES: &str =
    "{bar:30} {binary_bytes} of at most {binary_total_bytes}, {binary_bytes_per_sec}, at most {eta} left";
const ROWS: &str = "{bar:30} {pos}/{len} rows, {per_sec}, {eta} left";

/// Verifies a database or a backup.
pub fn verify(file: &Path, json: bool) -> Outcome {
    let verified = maintenance::verify(file);
    if json {
        return verified_as_json(verified);
    }
    match verified.map_err(failed)? {
        Verified::Backup(head, manifest) => {
            let shown = file.display();
            let (created, version, format) = (head.created_at, head.version, head.format);
            put(&format!(
                "{shown} is a complete backup of {created}, made by version {version}, with format {format}.\n"
            ))?;
            let tables = manifest.rows.into_iter().map(|(table, rows)| vec![table, rows.to_string()]);
            put_table(&["TABLE", "ROWS"], &tables.collect::<Vec<_>>())
        }
        Verified::Older(format) => put(&format!(
            "{} has format {format}, and its pages are sound. The next start upgrades it to the current format; verify it again then.\n",
            file.display()
        )),
        Verified::Database(report) if report.faults.is_empty() => {
            let shown = file.display();
            let (rows, pending) = (report.rows, counted(report.pending, "pending delivery", "pending deliveries"));
            put(&format!("{shown} is sound: {}, {pending}.\n", counted(rows, "row", "rows")))
        }
        Verified::Database(report) => {
            // The result counts even if the output cannot be written.
            let lines: Vec<_> = report.faults.iter().map(|fault| format!("{fault}\n")).collect();
            drop(put(&lines.concat()));
            let faults = u64::try_from(report.faults.len()).unwrap_or(u64::MAX).saturating_add(report.more_faults);
            let (shown, faults) = (file.display(), counted(faults, "fault", "faults"));
            let message = format!("{shown} has {faults}. Restore a backup with: tempclock-webhooks restore FILE");
            Err((Exit::Failed, message))
        }
    }
}

fn verified_as_json(verified: Result<Verified, BackupError>) -> Outcome {
    let verified = match verified {
        Err(error) if error.is_of_the_content() => {
            // The result counts even if the output cannot be written.
            drop(put_json(&json!({"data": {"sound": false, "faults": [error.to_string()]}})));
            return Err((Exit::Failed, String::new()));
        }
        verified => verified.map_err(failed)?,
    };
    let is_sound = !matches!(&verified, Verified::Database(report) if !report.faults.is_empty());
    let printed = put_json(&json!({"data": match &verified {
        Verified::Backup(head, manifest) => json!({
            "kind": "backup",
            "sound": is_sound,
            "created_at": head.created_at,
            "version": head.version,
            "format": head.format,
            "rows": manifest.rows,
        }),
        Verified::Older(format) => json!({"kind": "database", "sound": is_sound, "format": u64::try_from(*format).ok()}),
        Verified::Database(report) => json!({
            "kind": "database",
            "sound": is_sound,
            "rows": report.rows,
            "pending": report.pending,
            "faults": report.faults,
            "further_faults": report.more_faults,
        }),
    }}));
    if is_sound { printed } else { Err((Exit::Failed, String::new())) }
}

/// Restores a backup.
pub fn restore(args: &ConfigArgs, file: &Path, yes: bool) -> Outcome {
    let config = config::load(args, Vec::new())?.config;
    require_embedded(&config, "restore", "use pg_restore, or psql, with the server stopped")?;
    let folder = &config.storage.data_dir;
    let files = Maintenance::of(folder);
    if client::connect(&app::control_socket(&config)).is_some() {
        return Err(failed("the server is running; stop it first, for example: systemctl stop tempclock-webhooks"));
    }
    app::check_user(&config).map_err(|error| start_failure(&error))?;
    if files.presence() == Presence::Present && !yes {
        return Err((
            Exit::Usage,
            format!(
                "{} already has a database. Run again with --yes to replace it; the old one is kept as tempclock.before-restore-…",
                folder.display()
            ),
        ));
    }
    let bar = bar(0, ROWS);
    let restored = files.restore(file, (Clock::start().wall(), &client::user()), &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let Restored { head, kept, kept_has_clear_secrets, has_clear_secrets } = restored.map_err(failed)?;
    put(&format!(
        "{} holds what was stored at {}. Publish the events since then again: those in the backup are recognized by their ids.\n",
        folder.display(),
        head.created_at
    ))?;
    let is_sealed = config.storage.encryption_key_file.is_some();
    if is_sealed && has_clear_secrets {
        say(&format!(
            "The signing secrets in {} are not encrypted. The next start encrypts them in the database, but not in the backup.",
            file.display()
        ));
    }
    let Some(kept) = kept else {
        return put("Now start the server.\n");
    };
    put(&format!("The previous database is kept as {}.\nNow start the server.\n", kept.display()))?;
    if is_sealed && kept_has_clear_secrets {
        say("The signing secrets in it are not encrypted: remove it when it is no longer needed.");
    }
    Ok(())
}

/// Compacts the database.
pub fn compact(args: &ConfigArgs) -> Outcome {
    let config = config::load(args, Vec::new())?.config;
    require_embedded(&config, "compact", "autovacuum does this; VACUUM FULL in psql returns space to the disk")?;
    app::check_user(&config).map_err(|error| start_failure(&error))?;
    let (before, after) = Maintenance::of(&config.storage.data_dir).compact().map_err(failed)?;
    put(&format!("{} before, {} now.\n", ByteSize(before), ByteSize(after)))
}
