//! Arguments that select a server's HTTP API and the key for it.

use std::path::PathBuf;

use clap::Args;

/// The server's HTTP API.
#[derive(Debug, Args)]
pub struct ApiArgs {
    /// The server's URL [default: http:// or https:// and server.listen of the configuration]
    #[arg(long, value_name = "URL")]
    pub api_url: Option<String>,
    /// An API key; other users of this machine can see it while the command runs
    #[arg(long, value_name = "KEY", conflicts_with = "api_key_file")]
    pub api_key: Option<String>,
    /// A file with an API key
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
}
