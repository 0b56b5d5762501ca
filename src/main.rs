//! Parses the command line, runs one command, exits with its code.

use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::ExitCode;

use clap::Parser as _;
use tempclock_webhooks::cli::Cli;
use tempclock_webhooks::command::{self, Exit};
use tempclock_webhooks::storage::damage;

fn main() -> ExitCode {
    // A fault inside is caught where it happens; the log gets one line of it, in the form of all others.
    std::panic::set_hook(Box::new(report));
    // What is caught nowhere else ends the process with a code that the help lists.
    let exit = catch_unwind(AssertUnwindSafe(|| command::run(Cli::parse()))).unwrap_or(Exit::Failed);
    log::logger().flush();
    exit.into()
}

fn report(fault: &PanicHookInfo<'_>) {
    if damage::is_expected() {
        log::debug!("found damage: {fault}");
    } else if log::max_level() > log::LevelFilter::Off {
        log::error!("internal fault: {fault}");
    } else {
        let _ = writeln!(io::stderr(), "internal fault: {fault}");
    }
}
