//! Requests that a server on standby takes and the active one answers: `ask` is the one side, `answer` the other, and the
//! database lies between. So every server answers everything, and one of them executes it.

pub mod answer;
pub mod ask;
mod awaited;
pub mod execute;
