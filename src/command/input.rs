//! What commands read: secrets, from a flag or from a file that ends with a newline or not, and bodies, byte for byte.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::Exit;

/// The secret text from a flag or a file; `None` if neither was given.
pub fn text(flag: Option<&str>, file: Option<&Path>) -> Result<Option<Zeroizing<String>>, (Exit, String)> {
    if let Some(text) = flag {
        return Ok(Some(Zeroizing::new(text.to_owned())));
    }
    let Some(path) = file else { return Ok(None) };
    let mut text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| (Exit::Failed, format!("{} cannot be read: {error}", path.display())))?;
    // Every editor adds one; a second one, or spaces, would be somebody's mistake and is for the diagnosis.
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(Some(text))
}

/// The bytes of a body, from a file or from stdin.
pub fn body(file: Option<&Path>) -> Result<Vec<u8>, (Exit, String)> {
    if let Some(path) = file {
        return fs::read(path).map_err(|error| (Exit::Failed, format!("{} cannot be read: {error}", path.display())));
    }
    let mut body = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut body);
    read.map(|_| body).map_err(|error| (Exit::Failed, format!("stdin cannot be read: {error}")))
}
