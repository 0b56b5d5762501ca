//! The commands of the command line. Everything here runs on the main thread; data goes to stdout, messages to stderr.

mod client;
mod config;
mod console;
mod database;
mod doctor;
mod exit;
mod failure;
mod man_pages;
mod manage;
pub mod receive;
mod server;

pub use exit::Exit;

use self::failure::{Failure, Outcome};
use crate::cli::{Cli, Command};

/// Runs one command and returns its exit code.
#[must_use]
pub fn run(cli: Cli) -> Exit {
    let result = match cli.command {
        Command::Serve { config, listen, data_dir } => server::serve::run(&config, listen, data_dir),
        Command::Demo { listen } => receive::demo::run(listen.as_deref()),
        Command::Init { config, data_dir, if_missing, json } => server::init::run(&config, data_dir, if_missing, json),
        Command::Keys(command) => manage::keys::run(command),
        Command::Subscriptions(command) => manage::subscriptions::run(command),
        Command::Events(command) => manage::events::run(command),
        Command::Deliveries(command) => manage::deliveries::run(command),
        Command::Evidence(args) => manage::evidence::run(args),
        Command::Dashboard(args) => manage::dashboard::run(&args),
        Command::Audit(command) => manage::audit::run(command),
        Command::Alerts(command) => manage::alerts::run(&command),
        Command::Jobs(command) => manage::jobs::run(command),
        Command::Nodes(command) => manage::nodes::run(&command),
        Command::Clock(command) => manage::clock::run(&command),
        Command::Config(command) => config::run(&command),
        Command::Secrets(command) => database::secrets::run(&command),
        Command::Storage(command) => database::storage::run(&command),
        Command::Backup { config, output } => database::backup::back_up(&config, &output),
        Command::Restore { config, file, yes } => database::backup::restore(&config, &file, yes),
        Command::Verify(args) => match &args.database {
            Some(file) => database::backup::verify(file, args.json),
            None => receive::verify::run(&args),
        },
        Command::Compact { config } => database::backup::compact(&config),
        Command::Sign(args) => receive::sign::run(&args),
        Command::Listen(args) => receive::listen::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => man_pages::completions(args.shell),
        Command::Man(args) => man_pages::man(args.output.as_deref()),
    };
    // What the log has to say comes before the last words.
    log::logger().flush();
    match result {
        Ok(()) => Exit::Done,
        Err((exit, message)) => {
            // An empty message: everything was printed on stdout.
            if !message.is_empty() {
                console::output::say(&message);
            }
            exit
        }
    }
}
