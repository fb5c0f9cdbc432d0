//! The rules of the election, pure.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;

/// What the Lease says, and since when on our clock. Its own times are never used: they were written
/// with somebody else's clock.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    spec: LeaseSpec,
    since: Duration,
}

impl Seen {
    /// Takes note of the live Lease; one that says the same as before was not renewed.
    pub(super) fn note(before: Option<Self>, spec: LeaseSpec, now: Duration) -> Self {
        match before {
            Some(before) if before.spec == spec => before,
            Some(_) | None => Self { spec, since: now },
        }
    }

    /// Who holds it, if anybody.
    pub(super) fn holder(&self) -> Option<&str> {
        self.spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }
}

/// What to do about the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is ours: say that we are still here.
    Renew,
    /// Nobody holds it any more.
    Take,
    /// Somebody does. Should nothing change, it is free at this time on our clock.
    Wait {
        /// The earliest moment to take it.
        until: Duration,
    },
}

/// What `me` may do about the Lease now. `lease` is how long we wait where the holder does not say
/// for how long it holds.
///
/// A Lease under our own name is ours: identities are unique among living processes, so it was
/// written by this process or by one that died before it.
pub(super) fn evaluate(seen: &Seen, me: &str, lease: Duration, now: Duration) -> Claim {
    let Some(holder) = seen.holder() else { return Claim::Take };
    if holder == me {
        return Claim::Renew;
    }
    let theirs = seen.spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let held_for = theirs.filter(|seconds| *seconds > 0).map_or(lease, Duration::from_secs);
    let until = seen.since.saturating_add(held_for);
    if now >= until { Claim::Take } else { Claim::Wait { until } }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn held_by(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(jiff::Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    fn claim(seen: &Seen, now: u64) -> Claim {
        evaluate(seen, "me", LEASE, at(now))
    }

    #[test]
    fn a_lease_under_our_name_is_renewed_however_old_it_is() {
        let seen = Seen::note(None, held_by("me", 0), at(100));
        assert_eq!(claim(&seen, 900), Claim::Renew);
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        for holder in [None, Some(String::new())] {
            let spec = LeaseSpec { holder_identity: holder, ..held_by("", 0) };
            assert_eq!(claim(&Seen::note(None, spec, at(5)), 5), Claim::Take);
        }
    }

    #[test]
    fn a_lease_that_nobody_renews_is_taken_when_we_have_waited_it_out() {
        let seen = Seen::note(None, held_by("other", 0), at(100));
        assert_eq!(claim(&seen, 100), Claim::Wait { until: at(115) });
        let seen = Seen::note(Some(seen), held_by("other", 0), at(114));
        assert_eq!(claim(&seen, 114), Claim::Wait { until: at(115) });
        assert_eq!(claim(&seen, 115), Claim::Take);
    }

    #[test]
    fn every_renewal_starts_the_wait_anew() {
        let seen = Seen::note(None, held_by("other", 0), at(100));
        let seen = Seen::note(Some(seen), held_by("other", 1), at(114));
        assert_eq!(claim(&seen, 128), Claim::Wait { until: at(129) });
    }

    #[test]
    fn the_others_clock_is_not_believed_whether_it_is_years_ahead_or_behind() {
        for renewed in [0, 4_000_000_000] {
            let seen = Seen::note(None, held_by("other", renewed), at(100));
            assert_eq!(claim(&seen, 101), Claim::Wait { until: at(115) });
            assert_eq!(claim(&seen, 115), Claim::Take);
        }
    }

    #[test]
    fn a_holder_that_asks_for_a_longer_lease_is_given_it() {
        let spec = LeaseSpec { lease_duration_seconds: Some(60), ..held_by("other", 0) };
        assert_eq!(claim(&Seen::note(None, spec, at(0)), 59), Claim::Wait { until: at(60) });
    }

    #[test]
    fn a_lease_without_a_sensible_duration_is_waited_out_for_ours() {
        for seconds in [None, Some(0), Some(-3)] {
            let spec = LeaseSpec { lease_duration_seconds: seconds, ..held_by("other", 0) };
            assert_eq!(claim(&Seen::note(None, spec, at(0)), 1), Claim::Wait { until: at(15) });
        }
    }
}
