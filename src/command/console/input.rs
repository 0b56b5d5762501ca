//! Input of commands: secrets from a flag or a file, with or without a final newline, and bodies byte for byte.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::command::Exit;

/// The secret from a flag or a file; `None` if neither was given.
pub fn text(flag: Option<&str>, file: Option<&Path>) -> Result<Option<Zeroizing<String>>, (Exit, String)> {
    if let Some(text) = flag {
        return Ok(Some(Zeroizing::new(text.to_owned())));
    }
    let Some(path) = file else { return Ok(None) };
    let mut text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| (Exit::Failed, format!("{} cannot be read: {error}", path.display())))?;
    // Editors add one newline; another one, or spaces, is a mistake that the diagnosis reports.
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(Some(text))
}

/// The body from a file or stdin.
pub fn body(file: Option<&Path>) -> Result<Vec<u8>, (Exit, String)> {
    if let Some(path) = file {
        return fs::read(path).map_err(|error| (Exit::Failed, format!("{} cannot be read: {error}", path.display())));
    }
    let mut body = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut body);
    read.map(|_| body).map_err(|error| (Exit::Failed, format!("stdin cannot be read: {error}")))
}
