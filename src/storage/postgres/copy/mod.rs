//! A store in PostgreSQL as one end of a copy from one engine to the other.

pub(in crate::storage) mod new_schema;
mod source;
