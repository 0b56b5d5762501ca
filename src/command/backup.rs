//! `backup`, `restore`, `verify`, `compact`: what an operator does with the whole database.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use super::output::{failed, put, say};
use super::progress::bar;
use super::{Exit, Outcome, config};
use crate::app;
use crate::cli::ConfigArgs;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::client;
use crate::storage::Opened;
use crate::storage::backup::{self, Restored, Verified};
use crate::storage::writer::free_bytes;

/// Writes a backup beside its final name and renames it when it is whole; `-` is stdout.
pub fn back_up(args: &ConfigArgs, output: &str) -> Outcome {
    let config = config::load(args, Vec::new())?.config;
    if output == "-" {
        return copy_backup(&config, &mut io::stdout().lock());
    }
    let output = PathBuf::from(output);
    let unfinished = PathBuf::from(format!("{}.part", output.display()));
    check_space(&config, &output)?;
    let result = write_file(&unfinished, |file| copy_backup(&config, file)).and_then(|()| {
        // What was sent over a socket is only believed when it has been read again.
        backup::verify(&unfinished).map(drop).map_err(failed)?;
        fs::rename(&unfinished, &output).map_err(|error| failed(format!("{}: {error}", output.display())))?;
        sync_folder_of(&output);
        Ok(())
    });
    if result.is_err() {
        drop(fs::remove_file(&unfinished));
    } else {
        let bytes = fs::metadata(&output).map_or(0, |found| found.len());
        say(&format!("{}: {bytes} bytes, complete. Check it again with: verify {0}", output.display()));
    }
    result
}

fn check_space(config: &Config, output: &Path) -> Outcome {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let database = config.storage.data_dir.join("tempclock.redb");
    let needed = fs::metadata(database).map_or(0, |found| found.len());
    match free_bytes(folder) {
        Some(free) if free < needed => Err(failed(format!(
            "{} has {free} bytes free and up to {needed} are needed; nothing was written",
            folder.display()
        ))),
        _ => Ok(()),
    }
}

fn write_file(path: &Path, write: impl FnOnce(&mut fs::File) -> Outcome) -> Outcome {
    use std::os::unix::fs::OpenOptionsExt as _;
    let result = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = result.map_err(|error| failed(format!("{}: {error}", path.display())))?;
    write(&mut file)?;
    file.sync_all().map_err(|error| failed(format!("{}: {error}", path.display())))
}

fn sync_folder_of(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(error) = fs::File::open(folder).and_then(|folder| folder.sync_all()) {
        say(&format!("{} could not be synced: {error}", folder.display()));
    }
}

/// From the running server, else from the file itself.
fn copy_backup(config: &Config, out: &mut impl Write) -> Outcome {
    if let Some(client) = client::connect(&app::control_socket(config)) {
        let mut stream = client.back_up().map_err(failed)?;
        let bar = bar(0, "{spinner} {binary_bytes} {binary_bytes_per_sec}");
        let copied = io::copy(&mut bar.wrap_read(stream.by_ref()), out);
        bar.finish_and_clear();
        return copied.and_then(|_| out.flush()).map_err(failed);
    }
    let clock = Clock::start();
    let opened = Opened::open(&app::store_settings(config), clock).map_err(failed)?;
    let bar = bar(0, ROWS);
    let written = opened.reader().back_up(out, clock.wall(), &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    written.map(drop).map_err(failed)
}

const ROWS: &str = "{bar:30} {pos}/{len} rows, {per_sec}, {eta} left";

/// Looks through a database or a backup.
pub fn verify(file: &Path) -> Outcome {
    match backup::verify(file).map_err(failed)? {
        Verified::Backup(head, manifest) => {
            let shown = file.display();
            let (made, version, format) = (head.created_at, head.version, head.format);
            put(&format!("{shown} is a whole backup of {made}, made by version {version}, of format {format}.\n"))?;
            let tables = manifest.rows.into_iter().map(|(table, rows)| format!("{rows:>12} {table}\n"));
            put(&tables.collect::<String>())
        }
        Verified::Older(format) => put(&format!(
            "{} has format {format} and its pages are sound. The next start brings it to the present format; verify it again then.\n",
            file.display()
        )),
        Verified::Database(findings) if findings.faults.is_empty() => {
            let shown = file.display();
            put(&format!("{shown} is sound: {} rows, {} pending deliveries.\n", findings.rows, findings.pending))
        }
        Verified::Database(findings) => {
            // What was found counts, whether or not anybody reads the list.
            let lines: Vec<_> = findings.faults.iter().map(|fault| format!("{fault}\n")).collect();
            drop(put(&lines.concat()));
            let further = if findings.further > 0 { format!(" and {} more", findings.further) } else { String::new() };
            Err((
                Exit::Failed,
                format!(
                    "{} has {} faults{further}. Restore a backup with: tempclock-webhooks restore FILE",
                    file.display(),
                    findings.faults.len()
                ),
            ))
        }
    }
}

/// Puts a backup in the place of the database.
pub fn restore(args: &ConfigArgs, file: &Path, yes: bool) -> Outcome {
    let config = config::load(args, Vec::new())?.config;
    let folder = &config.storage.data_dir;
    if client::connect(&app::control_socket(&config)).is_some() {
        return Err(failed("the server is running; stop it first, for example: systemctl stop tempclock-webhooks"));
    }
    if folder.join("tempclock.redb").exists() && !yes {
        return Err((
            Exit::Usage,
            format!("there is a database in {} already; it would be kept beside. Say --yes to go on", folder.display()),
        ));
    }
    let bar = bar(0, "{spinner} {pos} rows, {per_sec}");
    let restored = backup::restore(file, folder, Clock::start().wall(), &mut |done| bar.set_position(done));
    bar.finish_and_clear();
    let Restored { head, kept } = restored.map_err(failed)?;
    put(&format!("{} holds what was stored at {}.\n", folder.display(), head.created_at))?;
    kept.map_or(Ok(()), |kept| put(&format!("The database before it is kept as {}.\n", kept.display())))
}

/// Gives unused space back.
pub fn compact(args: &ConfigArgs) -> Outcome {
    let config = config::load(args, Vec::new())?.config;
    let (before, after) = backup::compact(&config.storage.data_dir).map_err(failed)?;
    put(&format!("{before} bytes before, {after} bytes now.\n"))
}
