//! Asks for confirmation before a destructive action. Without a terminal the action is refused.

use std::io::{self, IsTerminal as _, Write as _};

use crate::command::failure::failed;
use crate::command::{Exit, Outcome};

/// Checks that the user can be asked or has confirmed already.
pub fn can_ask(yes: bool) -> Outcome {
    if yes || (io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    Err((Exit::Usage, "there is no terminal to ask at; say --yes to go on".to_owned()))
}

/// Fails unless confirmed on the command line or at the terminal.
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
