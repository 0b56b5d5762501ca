//! The digest under which the find index of every engine has an id or a tag of an account. It is stored, so it stays as it
//! is. Pure; any thread.

use sha2::{Digest as _, Sha256};

use crate::domain::AccountId;
use crate::domain::event::find::FindKey;

/// No proof that two texts are the same: the event is compared as well.
pub(in crate::storage) fn of(account: AccountId, key: &FindKey) -> u64 {
    let mut hash = Sha256::new();
    hash.update(account.0.to_le_bytes());
    hash.update([key.kind.number()]);
    hash.update(key.text.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}
