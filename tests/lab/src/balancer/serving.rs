//! How many pods get new connections, from the balancer's own record: whoever takes out too many shows here,
//! whatever he says of himself.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Applied, Change, Listener, Owner};

/// How many pods a listener sends new connections to, from a moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Since when.
    pub at: Timestamp,
    /// Whose balancer.
    pub owner: Owner,
    /// The listener.
    pub listener: Listener,
    /// Pods with a weight.
    pub pods: usize,
}

/// One entry for each time that a listener was changed. What is done in one sync counts as done at once.
#[must_use]
pub fn serving(log: &[Applied]) -> Vec<Serving> {
    let mut weighed: BTreeMap<(&Owner, Listener), BTreeSet<&str>> = BTreeMap::new();
    let mut counts: Vec<Serving> = Vec::new();
    for applied in log {
        let pods = weighed.entry((&applied.owner, applied.listener)).or_default();
        match applied.change {
            Change::Added { weight: 0 } | Change::Weight { to: 0, .. } | Change::Removed => {
                pods.remove(applied.uid.as_str());
            }
            Change::Added { .. } | Change::Weight { .. } => {
                pods.insert(&applied.uid);
            }
        }
        let now = Serving {
            at: applied.at,
            owner: applied.owner.clone(),
            listener: applied.listener,
            pods: pods.len(),
        };
        let same_sync =
            |last: &&mut Serving| (last.at, &last.owner, last.listener) == (now.at, &now.owner, now.listener);
        match counts.iter_mut().rev().take_while(|last| last.at == now.at).find(|last| same_sync(last)) {
            Some(last) => *last = now,
            None => counts.push(now),
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(second: i64, port: u16, pod: &str, change: Change) -> Applied {
        let at = Timestamp::from_second(second).unwrap();
        let owner = Owner::service("shop", "web");
        let (pod, uid) = (pod.to_owned(), format!("uid-of-{pod}"));
        Applied { noticed: at, at, owner, listener: Listener::tcp(port), pod, uid, change }
    }

    fn pods(log: &[Applied]) -> Vec<(u16, usize)> {
        serving(log).into_iter().map(|count| (count.listener.port, count.pods)).collect()
    }

    #[test]
    fn only_pods_with_a_weight_serve() {
        let log = [
            applied(1, 80, "web-0", Change::Added { weight: 10 }),
            applied(2, 80, "web-1", Change::Added { weight: 0 }),
            applied(3, 80, "web-1", Change::Weight { from: 0, to: 5 }),
            applied(4, 80, "web-0", Change::Weight { from: 10, to: 0 }),
            applied(5, 80, "web-0", Change::Removed),
        ];
        assert_eq!(pods(&log), [(80, 1), (80, 1), (80, 2), (80, 1), (80, 1)]);
    }

    #[test]
    fn what_one_sync_does_counts_as_done_at_once_and_each_listener_by_itself() {
        let log = [
            applied(1, 80, "web-0", Change::Added { weight: 10 }),
            applied(1, 8080, "web-0", Change::Added { weight: 10 }),
            applied(2, 80, "web-0", Change::Weight { from: 10, to: 0 }),
            applied(2, 80, "web-1", Change::Added { weight: 10 }),
        ];
        assert_eq!(pods(&log), [(80, 1), (8080, 1), (80, 1)]);
    }

    #[test]
    fn a_pod_made_anew_is_another_one_though_its_name_is_the_same() {
        let again = |uid: &str, change| Applied { uid: uid.to_owned(), ..applied(2, 80, "web-0", change) };
        let log = [
            applied(1, 80, "web-0", Change::Added { weight: 10 }),
            again("the next one's", Change::Added { weight: 10 }),
            again("uid-of-web-0", Change::Removed),
        ];
        assert_eq!(pods(&log), [(80, 1), (80, 1)]);
    }
}
