//! `secrets`: manages the key that encrypts signing secrets on disk. Runs on the main thread; never prints a key or a
//! secret.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::app;
use crate::cli::{ConfigArgs, SecretsCommand};
use crate::command::console::output::{counted, put};
use crate::command::database::engine::require_embedded;
use crate::command::failure::{failed, start_failure};
use crate::command::{Exit, Outcome, config};
use crate::control::client;
use crate::storage::maintenance::Maintenance;
use crate::storage::sealing::{self, Seal};

pub fn run(command: &SecretsCommand) -> Outcome {
    match command {
        SecretsCommand::MakeKey { file } => make_key(file),
        SecretsCommand::Rotate { config, new_key_file } => {
            let to = Seal::from_file(Some(new_key_file))
                .map_err(|error| wrong_key(format_args!("--new-key-file: {error}")))?;
            let count = change_key(config, &to)?;
            let secrets = counted(count, "signing secret is", "signing secrets are");
            put(&format!(
                "{secrets} now encrypted with the key in {}.\n\
                 Before the next start, set storage.encryption_key_file to it, or move it there.\n",
                new_key_file.display()
            ))
        }
        SecretsCommand::Decrypt { config, yes } => {
            if !yes {
                let message = "signing secrets would be stored unencrypted from now on; pass --yes to confirm";
                return Err((Exit::Usage, message.to_owned()));
            }
            let count = change_key(config, &Seal::NONE)?;
            let secrets = counted(count, "signing secret is", "signing secrets are");
            put(&format!(
                "{secrets} now stored unencrypted.\n\
                 Remove storage.encryption_key_file before the next start, which would encrypt them again.\n"
            ))
        }
    }
}

fn wrong_key(error: impl std::fmt::Display) -> (Exit, String) {
    (Exit::Configuration, error.to_string())
}

fn make_key(file: &Path) -> Outcome {
    let key = sealing::new_key().map_err(failed)?;
    // Never overwrite a key: secrets encrypted with it would be lost.
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = created.and_then(|mut created| {
        created.write_all(key.as_bytes())?;
        created.sync_all()
    });
    let shown = file.display();
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => failed(format!(
            "{shown} already exists and was not changed, because secrets may be encrypted with the key in it. Name another file"
        )),
        _ => failed(format!("{shown} cannot be written: {error}")),
    })?;
    put(&format!(
        "{shown} has a new key. Set storage.encryption_key_file to it and restart the server, which then encrypts the signing secrets. Keep a copy separate from the backups: without the key they are unusable.\n"
    ))
}

fn change_key(args: &ConfigArgs, to: &Seal) -> Result<u64, (Exit, String)> {
    let config = config::load(args, Vec::new())?.config;
    let instead = "a first key is applied at the next start; there is no command yet to change it";
    require_embedded(&config, "to change the key", instead)?;
    if client::connect(&app::control_socket(&config)).is_some() {
        return Err(failed("the server is running; stop it first, for example: systemctl stop tempclock-webhooks"));
    }
    app::check_user(&config).map_err(|error| start_failure(&error))?;
    let from = Seal::from_file(config.storage.encryption_key_file.as_deref()).map_err(wrong_key)?;
    Maintenance::of(&config.storage.data_dir).change_key(&from, to).map_err(failed)
}
