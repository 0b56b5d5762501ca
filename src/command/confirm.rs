//! Asks before something is done that cannot be taken back. Without a terminal nothing is asked and nothing done.

use std::io::{self, IsTerminal as _, Write as _};

use super::failure::failed;
use super::{Exit, Outcome};

/// May somebody be asked, or has said yes already?
pub fn can_ask(yes: bool) -> Outcome {
    if yes || (io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    Err((Exit::Usage, "there is no terminal to ask at; say --yes to go on".to_owned()))
}

/// Goes on only with a yes, given on the command line or at the terminal.
pub fn confirm(question: &str, yes: bool) -> Outcome {
    if yes {
        return Ok(());
    }
    can_ask(yes)?;
    let mut out = io::stderr();
    write!(out, "{question} [y/N] ").and_then(|()| out.flush()).map_err(failed)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(failed)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err((Exit::Failed, "Nothing was done.".to_owned())),
    }
}
