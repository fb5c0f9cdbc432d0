//! The most connections of each backend in each minute, as a cloud's monitoring has them.
//!
//! Tencent does not say whether the stamp of a minute is its beginning or its end. Here it is the end: then the first one
//! after a detach is of a minute that began before it, which is what a reader may not be taken in by.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

use jiff::Timestamp;

/// The finest that there is of single backends, in seconds.
pub(super) const MINUTE: i64 = 60;

/// A backend as the monitoring tells them apart: by addresses, not by pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) vip: IpAddr,
    pub(super) listener: u16,
    pub(super) address: SocketAddr,
}

#[derive(Debug, Default)]
pub(super) struct Minutes(BTreeMap<Place, BTreeMap<i64, u64>>);

impl Minutes {
    /// There were so many connections at this moment.
    pub(super) fn saw(&mut self, place: Place, connections: u64, at: Timestamp) {
        let end = (at.as_second().div_euclid(MINUTE) + 1) * MINUTE;
        let most = self.0.entry(place).or_default().entry(end).or_default();
        *most = connections.max(*most);
    }

    /// What is known of one backend, by stamp. One that the balancer did not have in a minute lacks that minute.
    pub(super) fn of(&self, place: &Place, stamps: &RangeInclusive<i64>) -> BTreeMap<i64, u64> {
        let minutes = self.0.get(place).into_iter().flatten();
        minutes.filter(|(end, _)| stamps.contains(*end)).map(|(end, most)| (*end, *most)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_the_most_that_was_seen_in_it_and_the_stamp_of_its_end() {
        let place = |listener| Place {
            vip: [127, 77, 0, 1].into(),
            listener,
            address: SocketAddr::from(([10, 0, 0, 7], 8080)),
        };
        let mut minutes = Minutes::default();
        for (second, connections) in [(0, 1), (59, 4), (30, 2), (60, 0), (200, 3)] {
            minutes.saw(place(80), connections, Timestamp::from_second(second).unwrap());
        }
        let of = |listener, stamps| minutes.of(&place(listener), &stamps).into_iter().collect::<Vec<_>>();
        assert_eq!(of(80, 0..=240), [(60, 4), (120, 0), (240, 3)]);
        assert_eq!(of(80, 61..=239), [(120, 0)]);
        assert_eq!(of(443, 0..=240), []);
    }
}
