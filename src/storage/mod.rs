//! Remembers everything, in one redb file. [`Opened::open`] gives the way to the single writer thread and the readers
//! that any thread may use. The only layer that names redb.

mod apply;
pub mod backup;
mod batching;
mod codec;
pub mod command;
pub mod damage;
mod database_file;
pub mod delivery_record;
pub mod dump;
pub mod error;
mod folder;
mod holder;
mod housekeeping;
pub mod inspect;
pub mod key_record;
mod management;
mod migrate;
mod moment;
mod newest_commit;
mod open;
mod outbox;
mod owner;
pub mod queue;
mod random;
pub mod reader;
pub mod record;
pub mod registry;
pub mod reseal;
pub mod restore;
mod runs;
pub mod sealing;
mod service_time;
mod space;
pub mod subscription_record;
mod tables;
#[cfg(test)]
mod test_store;
pub mod verify;
pub mod writer;

pub use apply::Rules;
pub use folder::{DATABASE_FILE, is_new};
pub use housekeeping::RetentionRule;
pub use open::{Opened, Store, StoreSettings};
pub use outbox::Pending;
pub use random::Randomness;
