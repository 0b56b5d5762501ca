//! Remembers everything, in one redb file. [`Opened::open`] gives the way to the single writer thread and the readers
//! that any thread may use. The only layer that names redb.

mod apply;
pub mod backup;
mod codec;
pub mod command;
pub mod dump;
pub mod error;
mod housekeeping;
mod management;
mod open;
mod random;
pub mod reader;
pub mod record;
pub mod registry;
mod tables;
pub mod verify;
pub mod writer;

pub use apply::Rules;
pub use housekeeping::RetentionRule;
pub use open::{Opened, Store, StoreSettings};
pub use random::Randomness;
