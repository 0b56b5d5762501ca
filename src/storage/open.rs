//! Opens a store on the engine that its settings name. Runs on the main thread, before any other thread exists.

use crate::clock::Clock;
use crate::storage::error::OpenError;
use crate::storage::opened::{Opened, StoreSettings};

impl Opened {
    /// Opens the store, or creates it if there never was one. Upgrades an earlier format, and encrypts secrets that are not
    /// encrypted yet.
    pub fn open(settings: &StoreSettings, clock: Clock) -> Result<Self, OpenError> {
        open(settings, clock, false)
    }

    /// Opens the store like [`Self::open`], but fails if that would rewrite it.
    pub fn open_as_it_is(settings: &StoreSettings, clock: Clock) -> Result<Self, OpenError> {
        open(settings, clock, true)
    }
}

fn open(settings: &StoreSettings, clock: Clock, as_it_is: bool) -> Result<Opened, OpenError> {
    match &settings.postgres {
        None => crate::storage::redb::file::open::open(settings, clock, as_it_is),
        Some(database) => crate::storage::postgres::open::open(settings, database, clock, as_it_is),
    }
}
