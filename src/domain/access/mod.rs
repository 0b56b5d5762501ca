//! API keys: their text and hash, their scopes, and what one key may give to another; and sessions. Pure; any thread.

mod api_key;
mod key_text;
mod rights;
mod scope;
mod session;

pub use api_key::ApiKey;
pub use key_text::{KeyHash, KeyText, is_key_shaped, without_keys};
pub use rights::{Excess, Rights};
pub use scope::{Scope, Scopes};
pub use session::{Holder, Session, SessionId};
