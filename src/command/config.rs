//! `config check` and `config show`, and the loading of the configuration for every other command.

use std::path::PathBuf;

use super::{Exit, Outcome};
use crate::cli::{ConfigArgs, ConfigCommand};
use crate::config::{CONFIG_VARIABLE, Config, Loaded, Origin, Sources};

const USUAL_FILE: &str = "/etc/tempclock-webhooks/config.toml";

/// Loads the configuration as a command was told to.
pub fn load(args: &ConfigArgs, flags: Vec<(&'static str, String)>) -> Result<Loaded, (Exit, String)> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    let named = environment.iter().find(|(name, _)| name == CONFIG_VARIABLE).map(|(_, path)| PathBuf::from(path));
    let usual = Some(PathBuf::from(USUAL_FILE)).filter(|path| path.exists());
    let file = args.config.clone().or(named).or(usual);
    Config::load(&Sources { file, environment, flags }).map_err(|errors| (Exit::Configuration, errors.to_string()))
}

pub fn run(command: &ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Check { config } => {
            let loaded = load(config, Vec::new())?;
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            println!("The configuration is valid.");
        }
        ConfigCommand::Show { config } => {
            let loaded = load(config, Vec::new())?;
            let width = loaded.values.iter().map(|(key, value)| key.len() + value.len()).max().unwrap_or(0).min(60) + 4;
            for (key, value) in &loaded.values {
                let origin = match loaded.origins.get(key) {
                    None | Some(Origin::Default) => "default".to_owned(),
                    Some(Origin::File { line }) => format!("file, line {line}"),
                    Some(Origin::Environment { variable }) => format!("environment, {variable}"),
                    Some(Origin::Flag) => "flag".to_owned(),
                };
                println!("{:width$} # {origin}", format!("{key} = {value}"));
            }
        }
    }
    Ok(())
}
