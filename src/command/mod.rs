//! What a person types: one file a command. Everything here runs on the main thread; data goes to stdout, messages
//! go to stderr.

mod access;
mod backup;
mod config;
mod confirm;
mod deliveries;
mod demo;
mod events;
mod exit;
mod init;
mod keys;
mod log_lines;
mod output;
mod progress;
mod publish;
mod receiver;
mod secrets;
mod serve;
mod subscriptions;
mod supervisor;
mod tail;

pub use exit::Exit;

use crate::cli::{Cli, Command};

/// Runs one command and gives the code to exit with.
#[must_use]
pub fn run(cli: Cli) -> Exit {
    let result = match cli.command {
        Command::Serve { config, listen, data_dir } => serve::run(&config, listen, data_dir),
        Command::Demo { listen } => demo::run(listen.as_deref()),
        Command::Init { config, json } => init::run(&config, json),
        Command::Keys(command) => keys::run(command),
        Command::Subscriptions(command) => subscriptions::run(command),
        Command::Events(command) => events::run(command),
        Command::Deliveries(command) => deliveries::run(command),
        Command::Config(command) => config::run(&command),
        Command::Secrets(command) => secrets::run(&command),
        Command::Backup { config, output } => backup::back_up(&config, &output),
        Command::Restore { config, file, yes } => backup::restore(&config, &file, yes),
        Command::Verify { file } => backup::verify(&file),
        Command::Compact { config } => backup::compact(&config),
    };
    match result {
        Ok(()) => Exit::Done,
        Err((exit, message)) => {
            if !message.is_empty() {
                eprintln!("{message}");
            }
            exit
        }
    }
}

/// What a command comes to: nothing more to say, or an exit code and a message.
type Outcome = Result<(), Failure>;

/// The exit code and message of a command that did not do what it was asked.
type Failure = (Exit, String);
