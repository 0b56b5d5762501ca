//! Parses the command line, runs one command, exits with its code.

use std::process::ExitCode;

use clap::Parser as _;
use tempclock_webhooks::{cli::Cli, command};

fn main() -> ExitCode {
    command::run(Cli::parse()).into()
}
