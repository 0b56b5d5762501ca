//! Arguments of `evidence`.

use clap::{Args, ValueEnum};

use super::args::AccountArgs;
use crate::cli::value_parsers;

/// Arguments of `evidence`.
#[derive(Debug, Args)]
pub struct EvidenceArgs {
    /// Account.
    #[command(flatten)]
    pub account: AccountArgs,
    /// Id of the worker
    #[arg(long, value_name = "ID")]
    pub worker: String,
    /// At or after this time, such as 2026-03-02 (UTC) or 2026-03-02T08:00:00Z, or this long ago, such as 30d
    #[arg(long, value_name = "TIME", value_parser = value_parsers::point)]
    pub since: Option<value_parsers::Point>,
    /// Before this time, or longer ago than this
    #[arg(long, value_name = "TIME", value_parser = value_parsers::point)]
    pub until: Option<value_parsers::Point>,
    /// Format: ndjson has one line per event, csv one row per attempt
    #[arg(long, value_enum, default_value_t = EvidenceForm::Ndjson)]
    pub format: EvidenceForm,
}

/// In which form it is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum EvidenceForm {
    /// A line of JSON for each event.
    Ndjson,
    /// A table with a row for each attempt.
    Csv,
}

impl EvidenceForm {
    /// As the API names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }
}
