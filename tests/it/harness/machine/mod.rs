//! What a test gives a server in the place of the machine's own: disks, names, addresses, system calls, time, a database
//! server.

mod black_hole;
mod island;
mod mounts;
mod name_server;
mod nobody;
mod overlay;
mod postgres;
mod small_disk;
mod strace;
mod wall_clock;

pub use black_hole::BlackHole;
pub use island::{NAME_SERVER, PUBLIC, PUBLIC_V6, hosts, on_an_island};
pub use name_server::{NameAnswer, NameServer};
pub use nobody::Nobody;
pub use overlay::Overlay;
pub use postgres::Postgres;
pub use small_disk::{DiskKind, SmallDisk};
pub use strace::Strace;
pub use wall_clock::WallClock;
