//! What `listen`, `sign` and `verify` are told of a subscription on the command line: its secrets, its public key, and the
//! options that shape a request.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::cli::SecretArgs;
use crate::command::Exit;
use crate::command::console::input;
use crate::command::receive::diagnosis::Fit;
use crate::domain::options::{Options, OptionsChange};
use crate::domain::signing_keys::{Ed25519PublicKey, VALID_MAX};

/// The secrets in the given order, which is newest first.
pub fn secrets(given: &SecretArgs) -> Result<Vec<Zeroizing<String>>, (Exit, String)> {
    let mut secrets: Vec<_> = given.secret.iter().cloned().map(Zeroizing::new).collect();
    for file in &given.secret_file {
        secrets.extend(input::text(None, Some(file))?);
    }
    if secrets.len() > VALID_MAX {
        return Err((
            Exit::Usage,
            format!("{} secrets were passed; at most {VALID_MAX} are valid at once", secrets.len()),
        ));
    }
    Ok(secrets)
}

/// A public key as the API shows it.
pub fn public_key(given: Option<&str>) -> Result<Option<Ed25519PublicKey>, (Exit, String)> {
    let Some(text) = given else { return Ok(None) };
    let message = "--public-key must be the public_key of the subscription: whpk_ and 44 characters of base64";
    let key = Ed25519PublicKey::parse(text.trim()).ok_or_else(|| (Exit::Usage, message.to_owned()))?;
    Ok(Some(key))
}

/// Options from the fields of a request, checked as the server does.
pub fn options(fields: &Map<String, Value>) -> Result<Options, (Exit, String)> {
    let mut change = OptionsChange::default();
    for (name, value) in fields {
        change.push(name, value.clone());
    }
    change.apply(&Options::default()).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        (Exit::Usage, errors.join("\n"))
    })
}

/// Which signatures match, for a line of text: `tempclock, standard`, with the secret's place if there are several.
pub fn in_words(fits: &[Fit], secrets: usize) -> String {
    let words = fits.iter().map(|Fit { kind, secret }| match secret {
        Some(place) if secrets > 1 => format!("{kind} by secret {place}"),
        _ => (*kind).to_owned(),
    });
    words.collect::<Vec<_>>().join(", ")
}
