//! What a person types: one file a command. Everything here runs on the main thread; data goes to stdout, messages
//! go to stderr.

mod access;
mod allocator;
mod api;
mod backup;
mod backup_file;
mod clock;
mod config;
mod confirm;
mod deliveries;
mod demo;
mod doctor;
mod events;
mod exit;
mod failure;
mod init;
mod input;
mod keys;
mod layout;
mod listen;
mod log_lines;
mod log_pipe;
mod output;
mod pages;
mod progress;
mod publish;
mod query;
mod receiver;
mod reply;
mod secrets;
mod serve;
mod sign;
mod subscriptions;
mod supervisor;
mod tail;
mod terminal;
mod verify;

pub use exit::Exit;

use self::failure::{Failure, Outcome};
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
        Command::Clock(command) => clock::run(&command),
        Command::Config(command) => config::run(&command),
        Command::Secrets(command) => secrets::run(&command),
        Command::Backup { config, output } => backup::back_up(&config, &output),
        Command::Restore { config, file, yes } => backup::restore(&config, &file, yes),
        Command::Verify(args) => match &args.database {
            Some(file) => backup::verify(file, args.json),
            None => verify::run(&args),
        },
        Command::Compact { config } => backup::compact(&config),
        Command::Sign(args) => sign::run(&args),
        Command::Listen(args) => listen::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => pages::completions(args.shell),
        Command::Man(args) => pages::man(args.output.as_deref()),
    };
    // What the log has to say comes before the last words.
    log::logger().flush();
    match result {
        Ok(()) => Exit::Done,
        Err((exit, message)) => {
            // A command that has said everything on stdout has nothing to add.
            if !message.is_empty() {
                output::say(&message);
            }
            exit
        }
    }
}
