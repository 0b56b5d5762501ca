//! The sources of a configuration and where each value came from.

use std::path::PathBuf;

/// The example file, which is also where the defaults come from, so the two cannot differ.
pub const EXAMPLE: &str = include_str!("../../config.toml.example");

/// The prefix of environment variables that set keys; an unknown one is an error.
pub const VARIABLE_PREFIX: &str = "TEMPCLOCK_WEBHOOKS_";

/// The variable that names the configuration file; it belongs to the command line.
pub const CONFIG_VARIABLE: &str = "TEMPCLOCK_WEBHOOKS_CONFIG";

/// The sources of a configuration, which override the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file to read; when named it must exist.
    pub file: Option<PathBuf>,
    /// The environment; variables without the prefix are ignored.
    pub environment: Vec<(String, String)>,
    /// Dotted keys with the values of their flags, such as `("server.listen", "[::1]:80")`.
    pub flags: Vec<(&'static str, String)>,
}

/// Where a value came from, ordered from the weakest source to the strongest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The default.
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
