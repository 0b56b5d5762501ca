//! The configuration: collected, merged, typed and checked once, before anything else starts.
//!
//! Runs at start-up and on a reload. It owns the names of all keys and their defaults. It must never read anything but
//! the given sources, print a secret, or accept an invalid value.

mod address_entries;
mod alerts;
mod client_certificates;
mod error;
mod event_types;
mod nearest;
mod origin;
mod read;
mod rules;
mod sections;
mod source;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;

pub use address_entries::Direct;
pub use alerts::AlertsSection;
pub use client_certificates::ClientCertificateFiles;
pub use error::ConfigError;
pub use origin::{CONFIG_VARIABLE, EXAMPLE, Origin, Sources, VARIABLE_PREFIX};
pub use rules::EVENTS_KEPT;
pub use sections::{
    Config, DeliverySection, LimitsSection, LogFormat, LogSection, RateLimitSection, RetentionSection, ServerSection,
    StorageEngine, StorageSection,
};

use error::ErrorCollector;
use read::ConfigReader;

/// All errors, in the order file, environment, flags; one line per error.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.found))]
pub struct ConfigErrors {
    found: Vec<ConfigError>,
    /// The configuration of the valid values, for checking the files that they name; never start with it.
    pub understood: Option<Box<Config>>,
}

impl ConfigErrors {
    /// The errors; never empty.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.found
    }
}

fn lines(errors: &[ConfigError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// A valid configuration, with the origin of its values and warnings.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Where the value of each dotted key came from; every key is in it.
    pub origins: BTreeMap<&'static str, Origin>,
    /// The value of each dotted key as it was written, spelt as TOML; every key is in it.
    pub values: BTreeMap<&'static str, String>,
    /// Warnings about settings that are allowed but rarely intended, each a full sentence.
    pub warnings: Vec<String>,
}

impl Config {
    /// Merges the sources, flag over environment over file over default, and checks everything,
    /// values that a stronger source hides included.
    ///
    /// # Errors
    /// All that is wrong in all sources together. Only a file that cannot be read, or is not TOML,
    /// hides what else is wrong in it.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let file = sources.file.as_deref();
        let file_name = file.map_or_else(|| "built-in defaults".to_owned(), |path| path.display().to_string());
        let mut errors_found = ErrorCollector::new(file_name);
        let gathered = source::gather(sources, &mut errors_found);
        let mut reader = ConfigReader::new(&gathered, &mut errors_found);
        let config = Self::read(&mut reader);
        let ConfigReader { origins, values, .. } = reader;
        // Without the file's keys, rules could report errors that the file resolves.
        if let Some(config) = &config
            && gathered.complete
        {
            rules::check(config, &origins, &mut errors_found);
        }
        let found = errors_found.into_errors();
        match config {
            Some(config) if found.is_empty() => {
                Ok(Loaded { warnings: rules::warnings(&config), config, origins, values })
            }
            config => Err(ConfigErrors { found, understood: config.map(Box::new) }),
        }
    }
}
