//! `config check` and `config show`, and the loading of the configuration for every other command.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Exit, Outcome};
use crate::app;
use crate::cli::{ConfigArgs, ConfigCommand};
use crate::clock::Clock;
use crate::command::console::output::{put, put_json, say};
use crate::config::{CONFIG_VARIABLE, Config, ConfigErrors, Loaded, Origin, Sources};
use crate::domain::escape::escape_controls;

/// Maximum number of errors shown.
const ERRORS: usize = 20;
const USUAL_FILE: &str = "/etc/tempclock-webhooks/config.toml";
/// Keys that name a file with a secret. If there is no such file, the value may be the secret itself.
const SECRET_FILES: [&str; 6] = [
    "server.tls_key",
    "storage.postgres.url_file",
    "storage.encryption_key_file",
    "delivery.proxy_credentials_file",
    "alerts.smtp_credentials_file",
    "alerts.webhook_secret_file",
];

/// The environment variables that are valid text.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}

/// The configuration file: given, or the default one.
pub fn file(args: &ConfigArgs) -> Option<PathBuf> {
    // An empty variable is one that is not set.
    let is_named = |(name, path): &(String, String)| name == CONFIG_VARIABLE && !path.is_empty();
    let named = || environment().into_iter().find(is_named).map(|(_, path)| path.into());
    let usual = || Some(PathBuf::from(USUAL_FILE)).filter(|path| path.exists());
    args.config.clone().or_else(named).or_else(usual)
}

/// Loads the configuration for a command.
pub fn load(args: &ConfigArgs, flags: Vec<(&'static str, String)>) -> Result<Loaded, (Exit, String)> {
    gather(args, flags).map_err(|errors| (Exit::Configuration, first_lines(&errors.to_string())))
}

/// Loads a configuration from its file alone.
pub fn load_file(file: &Path) -> Result<Loaded, (Exit, String)> {
    let sources = Sources { file: Some(file.to_owned()), ..Sources::default() };
    Config::load(&sources).map_err(|errors| (Exit::Configuration, first_lines(&errors.to_string())))
}

fn gather(args: &ConfigArgs, flags: Vec<(&'static str, String)>) -> Result<Loaded, ConfigErrors> {
    Config::load(&Sources { file: file(args), environment: environment(), flags })
}

/// The first errors and the number of others.
fn first_lines(errors: &str) -> String {
    let mut lines: Vec<_> = errors.lines().take(ERRORS).map(str::to_owned).collect();
    let more = errors.lines().count().saturating_sub(lines.len());
    lines.extend((more > 0).then(|| format!("and {more} more")));
    lines.join("\n")
}

pub fn run(command: &ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Check { config } => check(config),
        ConfigCommand::Show { config, json } => {
            let loaded = load(config, Vec::new())?;
            let values = loaded.values.iter().map(|(key, value)| {
                let origin = loaded.origins.get(key).unwrap_or(&Origin::Default);
                (*key, shown_value(key, value), origin)
            });
            if *json {
                let values: Vec<Value> = values.map(|(key, value, origin)| row(key, &value, origin)).collect();
                put_json(&json!({"data": values, "file": file(config)}))
            } else {
                put_values(&values.collect::<Vec<_>>(), file(config).as_deref())
            }
        }
    }
}

/// Checks the values and the files that they name, and reports every problem.
fn check(args: &ConfigArgs) -> Outcome {
    let (config, warnings, mut problems) = match gather(args, Vec::new()) {
        Ok(Loaded { config, warnings, .. }) => (Some(config), warnings, Vec::new()),
        Err(errors) => {
            let problems = errors.errors().iter().map(ToString::to_string).collect();
            (errors.understood.map(|config| *config), Vec::new(), problems)
        }
    };
    let now = Clock::start().wall();
    let aging = config.iter().flat_map(|config| app::certificate_warnings(config, now));
    for warning in warnings.into_iter().chain(aging) {
        say(&format!("warning: {}", escape_controls(&warning)));
    }
    problems.extend(config.iter().flat_map(app::check_files).map(|problem| escape_controls(&problem)));
    if problems.is_empty() {
        put("The configuration is valid.\n")
    } else {
        Err((Exit::Configuration, first_lines(&problems.join("\n"))))
    }
}

/// The value as TOML; hidden if it may be a secret instead of a file name.
fn shown_value(key: &str, value: &str) -> String {
    let named = value.trim_matches(['"', '\'']);
    if SECRET_FILES.contains(&key) && !named.is_empty() && !Path::new(named).exists() {
        return "\"(hidden: there is no such file)\"".to_owned();
    }
    value.to_owned()
}

fn row(key: &str, value: &str, origin: &Origin) -> Value {
    let parsed: Option<toml::Table> = toml::from_str(&format!("value = {value}")).ok();
    let parsed = parsed.and_then(|table| serde_json::to_value(table).ok()).map(|table| table["value"].clone());
    let (name, line, variable) = match origin {
        Origin::Default => ("default", None, None),
        Origin::File { line } => ("file", Some(line), None),
        Origin::Environment { variable } => ("environment", None, Some(variable)),
        Origin::Flag => ("flag", None, None),
    };
    json!({"key": key, "value": parsed, "origin": name, "line": line, "variable": variable})
}

/// Maximum width of values for aligning the origins.
const WIDEST: usize = 60;

fn put_values(values: &[(&str, String, &Origin)], file: Option<&Path>) -> Outcome {
    let file = file.map_or_else(|| "file".to_owned(), |path| escape_controls(&path.display().to_string()));
    let widths = values.iter().map(|(key, value, _)| key.len() + value.chars().count());
    let width = widths.max().unwrap_or(0).min(WIDEST) + 4;
    let line = |(key, value, origin): &(&str, String, &Origin)| {
        let origin = match origin {
            Origin::Default => "default".to_owned(),
            Origin::File { line } => format!("{file}, line {line}"),
            Origin::Environment { variable } => format!("environment, {variable}"),
            Origin::Flag => "flag".to_owned(),
        };
        format!("{:width$} # {origin}\n", format!("{key} = {}", escape_controls(value)))
    };
    put(&values.iter().map(line).collect::<String>())
}
