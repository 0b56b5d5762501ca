//! The configuration: found, merged, typed and checked once, before anything else starts.
//!
//! Runs at start-up (and again when a signal asks for a reload), on the main thread only. It owns
//! the names of all keys and their defaults. It must never read anything but the named sources,
//! print a secret, or go on with a value that was not understood.

mod error;
mod nearest;
mod reach;
mod read;
mod rules;
mod sections;
mod source;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use error::{ConfigError, ConfigErrors};
pub use sections::{
    DeliverySection, LimitsSection, LogFormat, LogSection, RateLimitSection, RetentionSection, ServerSection,
    StorageSection,
};

use error::Findings;
use read::Reader;

/// The example file, which is also where the defaults come from, so the two cannot differ.
pub const EXAMPLE: &str = include_str!("../../config.toml.example");

/// Environment variables that begin like this set keys, or are errors.
pub const VARIABLE_PREFIX: &str = "TEMPCLOCK_WEBHOOKS_";

/// The variable that names the configuration file; it belongs to the command line.
pub const CONFIG_VARIABLE: &str = "TEMPCLOCK_WEBHOOKS_CONFIG";

/// Everything that can be set, with every value in its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How callers reach the server.
    pub server: ServerSection,
    /// Where the database lives and what it may use.
    pub storage: StorageSection,
    /// How long settled things are kept.
    pub retention: RetentionSection,
    /// How deliveries are sent, repeated and guarded.
    pub delivery: DeliverySection,
    /// How much one caller can put in.
    pub limits: LimitsSection,
    /// How often one API key can ask.
    pub rate_limit: RateLimitSection,
    /// What is written down while the server runs.
    pub log: LogSection,
}

/// What a configuration is made from; the defaults are always below these.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file to read; when named it must exist.
    pub file: Option<PathBuf>,
    /// The environment; variables without the prefix are passed over.
    pub environment: Vec<(String, String)>,
    /// Dotted keys with the text of their flags, such as `("server.listen", "[::1]:80")`.
    pub flags: Vec<(&'static str, String)>,
}

/// Where a value came from, ordered from the weakest source to the strongest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File {
        /// Line of the key, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its full name.
        variable: String,
    },
    /// A command line flag.
    Flag,
}

/// A configuration that can be used, with what a person may want to know about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Where the value of each dotted key came from; every key is in it.
    pub origins: BTreeMap<&'static str, Origin>,
    /// The value of each dotted key as it was written, spelt as TOML; every key is in it.
    pub values: BTreeMap<&'static str, String>,
    /// Settings that are allowed but seldom meant, each a full sentence.
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
        let mut findings = Findings::new(file_name);
        let gathered = source::gather(sources, &mut findings);
        let mut reader = Reader::new(&gathered, &mut findings);
        let config = Self::read(&mut reader);
        let Reader { origins, values, .. } = reader;
        // Without the file's keys, a rule would blame the other sources for what is in the file.
        if let Some(config) = &config
            && gathered.complete
        {
            rules::check(config, &origins, &mut findings);
        }
        match (config, findings.into_errors()) {
            (Some(config), None) => Ok(Loaded { warnings: rules::warnings(&config), config, origins, values }),
            (config, errors) => {
                let mut errors = errors.unwrap_or_default();
                errors.understood = config.map(Box::new);
                Err(errors)
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            server: ServerSection::read(reader)?,
            storage: StorageSection::read(reader)?,
            retention: RetentionSection::read(reader)?,
            delivery: DeliverySection::read(reader)?,
            limits: LimitsSection::read(reader)?,
            rate_limit: RateLimitSection::read(reader)?,
            log: LogSection::read(reader)?,
        })
    }
}
