//! The engine on PostgreSQL 15 or newer: one schema of a database, written by one process.
//!
//! All connections live on one thread (`connection/runtime`). The writer has one of them (`writing`), snapshots lease
//! others from a pool (`connection/pool`, `view`), and the claim on the schema has one (`owner`).
//!
//! **Tables.** Each has the key columns of the table below and `value bytea`: the same encoded row that the embedded engine
//! stores, with its digest over the key. What is searched for is in the key, so every statement is one of five for each table
//! (`tables`): read one row, read some, read a span in the order of the key, store, remove.
//!
//! | Table | Key | Value |
//! |---|---|---|
//! | `store`, `owner`, `lease` | one row each, no `value` | format and identity; epoch that may write; its process, and until when |
//! | `nodes` | server, no `value` | the servers that use the schema, for people |
//! | `requests`, `answers` | server, number, part | what a server on standby has passed on, until it is answered (`relay`) |
//! | `meta` | name | next numbers, service time |
//! | `accounts`, `keys`, `subscriptions`, `histories` | number | one of those |
//! | `events`, `tags` | account, event | event with its body; its tags |
//! | `receiver_sets`, `receiver_set_numbers`, `receiver_set_uses` | number; digest; number | who events go to |
//! | `idempotency` | account, digest | what a key was used for |
//! | `outbox` | subscription, due, event | pending deliveries: due 0 is unattempted, the greatest waits for others |
//! | `outcomes` | account, event, subscription | delivery with its attempts |
//! | `counts` | account, page of subscriptions | how many deliveries of each kind |
//! | `fronts`, `kept`, `retention_due` | account; account, event; kind, time, account, event, subscription | retention |
//! | `purges`, `jobs`, `audit`, `sessions` | subscription; account, job; account, record; digest | as their names say |
//! | `orders`, `batches` | subscription, order key or batch, event | what waits for what |
//! | `notices`, `told` | alert; kind and subject | alerts |
//! | `find`, `find_positions` | digest, event; account | the find index |
//!
//! **A commit.** The writer begins a transaction and locks the `owner` row of its epoch. What it writes is kept in memory
//! (`writes`), where it also reads it, and goes to the database in one pipeline at the end: two statements for each table that
//! changed, of all its rows at once, and COMMIT. So the number of statements does not grow with the rows. Rows that this
//! process stored lately are read from memory (`recent`), which holds because no other process can commit.
//!
//! **One writer.** A start that finds a process at work in the schema takes nothing: a command is refused, and a server waits
//! (`standby`). One that takes over from a process that ended, or whose lease has run out, raises the epoch; whatever the other
//! one still sends then fails at the lock of its epoch and is rolled back. The other one starts no attempt and answers no
//! request once its lease is over by its own clock, before it has asked anybody. Plain statements are enough for that.
//!
//! **Lost connections.** Each commit has a number in `meta` (`connection/place`). When the connection ends while one is on its
//! way, the next one locks the epoch alone, which waits for whatever is still under way, and reads that number: the commit was
//! made, or it is sent again. A server with a lesser number, or on an earlier timeline, is never used.
//!
//! **Unknown.** When no server answers in time, or the wait for the synchronous standby was cancelled, nobody knows whether the
//! commit was made. The process then ends as after any error of its store: callers get 503 and repeat under their keys.

pub(in crate::storage) mod connection;
pub(in crate::storage) mod copy;
mod counts;
pub(in crate::storage) mod engine;
pub(in crate::storage) mod error;
mod find_index;
pub(in crate::storage) mod look;
mod nodes;
pub(in crate::storage) mod open;
mod owner;
mod receiver_sets;
mod recent;
pub(in crate::storage) mod relay;
mod rows;
mod schema;
mod shared;
pub(in crate::storage) mod standby;
mod stored;
pub(in crate::storage) mod tables;
mod tx;
mod view;
mod writes;
mod writing;
