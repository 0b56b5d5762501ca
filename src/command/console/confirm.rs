//! Asks for confirmation before a destructive action. Without a terminal the action is refused.

use std::io::{self, IsTerminal as _, Write as _};

use crate::command::failure::failed;
use crate::command::{Exit, Outcome};

const NO_TERMINAL: &str = "This is not a terminal; pass --yes to confirm";

fn has_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Checks that the user can be asked or has confirmed already.
pub fn can_ask(yes: bool) -> Outcome {
    if yes || has_terminal() { Ok(()) } else { Err((Exit::Usage, NO_TERMINAL.to_owned())) }
}

/// Fails unless confirmed on the command line or at the terminal.
pub fn confirm(question: &str, yes: bool) -> Outcome {
    if yes {
        return Ok(());
    }
    if !has_terminal() {
        return Err((Exit::Usage, format!("{question} {NO_TERMINAL}")));
    }
    let mut out = io::stderr();
    write!(out, "{question} [y/N] ").and_then(|()| out.flush()).map_err(failed)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(failed)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err((Exit::Failed, "Nothing was done.".to_owned())),
    }
}
