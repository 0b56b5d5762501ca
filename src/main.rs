//! Parses the command line, runs one command, exits with its code.

use std::process::ExitCode;

use clap::Parser as _;
use tempclock_webhooks::{cli::Cli, command};

fn main() -> ExitCode {
    // A fault inside is caught where it happens; the log gets one line of it, in the form of all others.
    std::panic::set_hook(Box::new(|fault| log::error!("internal fault: {fault}")));
    command::run(Cli::parse()).into()
}
