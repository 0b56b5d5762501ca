//! Tells from the outcomes of attempts whether this machine's own network is out: no attempt of any endpoint gets
//! through, and the cause is on this side or the same for several hosts. Pure; any thread.

use super::Timestamp;
use crate::domain::delivery::outcome::WayOut;

/// What the attempts since the last one that got through have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    /// From the first to the last attempt that did not get through, and the host of the first.
    stretch: Option<(Timestamp, Timestamp, String)>,
    /// It cannot be the fault of one host.
    is_certain: bool,
}

impl Outage {
    /// Takes in an attempt at that host. Says whether it failed for an outage, so that it tells nothing of its endpoint.
    pub fn after(&mut self, way_out: WayOut, host: &str, now: Timestamp) -> bool {
        match way_out {
            WayOut::Open => {
                *self = Self::default();
                return false;
            }
            WayOut::Unknown => return false,
            WayOut::Closed => self.is_certain = true,
            WayOut::Doubtful => {}
        }
        let (from, first) = match self.stretch.take() {
            Some((from, _, first)) => (from, first),
            None => (now, host.to_owned()),
        };
        self.is_certain |= first != host;
        self.stretch = Some((from, now, first));
        self.is_certain
    }

    /// Since when nothing has got through, and until when that is known, if it is an outage.
    #[must_use]
    pub fn stretch(&self) -> Option<(Timestamp, Timestamp)> {
        self.stretch.as_ref().filter(|_| self.is_certain).map(|(from, to, _)| (*from, *to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Timestamp {
        Timestamp::from_ms(s * 1000)
    }

    #[test]
    fn one_host_that_does_not_answer_is_no_outage_and_two_are() {
        let mut outage = Outage::default();
        for s in 1..10 {
            assert!(!outage.after(WayOut::Doubtful, "a", at(s)));
        }
        assert_eq!(outage.stretch(), None);
        assert!(outage.after(WayOut::Doubtful, "b", at(10)));
        assert_eq!(outage.stretch(), Some((at(1), at(10))));
        assert!(outage.after(WayOut::Doubtful, "a", at(11)));
    }

    #[test]
    fn a_machine_without_a_route_or_name_server_is_out_whatever_host_is_asked_for() {
        let mut outage = Outage::default();
        assert!(outage.after(WayOut::Closed, "a", at(1)));
        assert_eq!(outage.stretch(), Some((at(1), at(1))));
    }

    #[test]
    fn whatever_gets_through_ends_it_and_what_is_never_sent_tells_nothing() {
        let mut outage = Outage::default();
        outage.after(WayOut::Closed, "a", at(1));
        assert!(!outage.after(WayOut::Unknown, "b", at(2)));
        assert_eq!(outage.stretch(), Some((at(1), at(1))));
        assert!(!outage.after(WayOut::Open, "b", at(3)));
        assert_eq!(outage, Outage::default());
        assert!(!outage.after(WayOut::Doubtful, "a", at(4)));
    }
}
