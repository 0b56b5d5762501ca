//! PostgreSQL as the engine: what holds there that a file has no part in. With `TEST_ENGINE=postgres` every other test that
//! is not about files runs on it as well.

mod commands;
mod copy;
mod doctor;
mod failover;
mod faults;
mod owner;
mod refusals;
mod relay;
mod standby;
mod work;
