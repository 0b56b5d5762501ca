//! Parses the command line, runs one command, and exits with its code.

use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::ExitCode;

use clap::Parser as _;
use tempclock_webhooks::cli::Cli;
use tempclock_webhooks::command::{self, Exit};
use tempclock_webhooks::storage::expects_panic;

fn main() -> ExitCode {
    // Panics are caught where they happen; the log gets one line for each, in the usual form.
    std::panic::set_hook(Box::new(report));
    // A panic that nothing else catches ends the process with a documented exit code.
    let exit = catch_unwind(AssertUnwindSafe(|| command::run(Cli::parse()))).unwrap_or(Exit::Failed);
    log::logger().flush();
    exit.into()
}

fn report(fault: &PanicHookInfo<'_>) {
    if expects_panic() {
        log::debug!("found damage: {fault}");
    } else if log::max_level() > log::LevelFilter::Off {
        log::error!("internal fault: {fault}");
    } else {
        let _ = writeln!(io::stderr(), "internal fault: {fault}");
    }
}
