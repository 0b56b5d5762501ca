//! The store: restarts, kills, full disks, backups, formats, clocks.

pub(super) mod backup;
pub(super) mod clock;
pub(super) mod damage;
pub(super) mod disk;
pub(super) mod formats;
pub(super) mod kill;
pub(super) mod owner;
pub(super) mod restart;
pub(super) mod retention;
pub(super) mod room;
pub(super) mod upgrade;
