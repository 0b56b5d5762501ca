//! How the notifier hears that there is an alert, without anybody waiting for it. Any thread.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::domain::EventId;
use crate::notify::way::HandOverError;

/// More than one for each way, so that none of them ever waits.
const SIGNALS: usize = 64;

/// What the notifier hears.
#[derive(Debug)]
pub enum Signal {
    /// An alert was stored.
    Alert,
    /// Alerts were handed over by the way in that place, or not.
    Ended {
        /// The way's place.
        place: usize,
        /// Which alerts.
        alerts: Vec<EventId>,
        /// What came of it.
        result: Result<(), HandOverError>,
    },
    /// The server stops.
    Stop,
}

/// Tells the notifier.
#[derive(Clone, Debug)]
pub struct Bell(SyncSender<Signal>);

impl Bell {
    /// A bell and what hears it.
    #[must_use]
    pub fn new() -> (Self, Receiver<Signal>) {
        let (sender, signals) = sync_channel(SIGNALS);
        (Self(sender), signals)
    }

    /// There is an alert. Never waits: if signals wait already, the store is looked at anyway.
    pub fn ring(&self) {
        drop(self.0.try_send(Signal::Alert));
    }

    /// Waits until it is heard, or nobody hears any more.
    pub fn tell(&self, signal: Signal) {
        drop(self.0.send(signal));
    }
}
