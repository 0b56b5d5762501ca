//! `completions` and `man`, generated from the definition of the command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cli::{Cli, EXIT_CODES, Shell};
use crate::command::Outcome;
use crate::command::console::output::put;
use crate::command::failure::failed;

const NAME: &str = "tempclock-webhooks";

pub fn completions(shell: Shell) -> Outcome {
    let mut command = Cli::command();
    let mut script = Vec::new();
    match shell {
        Shell::Bash => clap_complete::generate(clap_complete::Shell::Bash, &mut command, NAME, &mut script),
        Shell::Zsh => clap_complete::generate(clap_complete::Shell::Zsh, &mut command, NAME, &mut script),
        Shell::Fish => clap_complete::generate(clap_complete::Shell::Fish, &mut command, NAME, &mut script),
    }
    put(&String::from_utf8_lossy(&script))
}

pub fn man(output: Option<&Path>) -> Outcome {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = output else {
        return put(&String::from_utf8_lossy(&page(&command).map_err(failed)?));
    };
    fs::create_dir_all(folder).map_err(|error| failed(format!("{}: {error}", folder.display())))?;
    let mut written = Vec::new();
    // Write all of them before printing, since the reader may close the pipe early.
    let done = write_pages(&command, NAME, folder, &mut written);
    done.and(put(&written.concat()))
}

fn write_pages(command: &Command, name: &str, folder: &Path, written: &mut Vec<String>) -> Outcome {
    let path = folder.join(format!("{name}.1"));
    let page = page(command).map_err(failed)?;
    fs::write(&path, page).map_err(|error| failed(format!("{}: {error}", path.display())))?;
    written.push(format!("{}\n", path.display()));
    let further = command.get_subcommands().filter(|further| further.get_name() != "help");
    further
        .into_iter()
        .try_for_each(|further| write_pages(further, &format!("{name}-{}", further.get_name()), folder, written))
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    // Arguments without a dash have a section of their own.
    let options = command.clone().mut_args(|arg| if arg.is_positional() { arg.hide(true) } else { arg });
    // The name of the program alone: that of a command may be too long for one line, whose parts then overlap.
    let man = Man::new(options).title(NAME).source(concat!("tempclock-webhooks ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    synopsis(command, &mut page)?;
    if command.get_long_about().is_some() {
        man.render_description_section(&mut page)?;
    }
    arguments(command, &mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (examples, notes) = split(&after);
    let mut rest = Roff::default();
    if !examples.is_empty() {
        section(&mut rest, "EXAMPLES", &examples);
    }
    if !notes.is_empty() {
        rest.control("SH", ["NOTES"]);
        rest.text([roman(notes.join(" "))]);
    }
    let codes: Vec<&str> = EXIT_CODES.lines().skip(1).map(str::trim).collect();
    section(&mut rest, "EXIT STATUS", &codes);
    rest.to_writer(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// The synopsis, as in the help.
fn synopsis(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let usage = command.clone().render_usage().to_string();
    let mut section = Roff::default();
    section.control("SH", ["SYNOPSIS"]);
    section.text([roman(usage.trim_start_matches("Usage:").trim())]);
    section.to_writer(page)
}

/// The arguments without a dash.
fn arguments(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let mut section = Roff::default();
    for (place, argument) in command.get_positionals().filter(|argument| !argument.is_hide_set()).enumerate() {
        if place == 0 {
            section.control("SH", ["ARGUMENTS"]);
        }
        section.control("TP", []);
        section.text([roman(argument.to_string())]);
        section.text([roman(argument.get_help().map(ToString::to_string).unwrap_or_default())]);
    }
    section.to_writer(page)
}

/// Splits the text into examples and notes; exit codes have a section of their own.
fn split(after_help: &str) -> (Vec<&str>, Vec<&str>) {
    let own = after_help.split(EXIT_CODES).next().unwrap_or_default();
    let lines = own.lines().filter(|line| !line.is_empty() && !line.starts_with("Example"));
    let (examples, notes): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("  "));
    (examples.into_iter().map(|line| line.get(2..).unwrap_or_default()).collect(), notes)
}

/// A section with its line breaks preserved.
fn section(page: &mut Roff, title: &str, lines: &[&str]) {
    page.control("SH", [title]);
    page.control("nf", []);
    for line in lines {
        page.text([roman(*line)]);
    }
    page.control("fi", []);
}
