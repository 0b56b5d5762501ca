//! The tables of alerts. They are in no backup: what waited when one was made was told since.

pub mod notices;
pub mod told;
