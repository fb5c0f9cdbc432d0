//! What a pod shows of its drain counter.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStateWaiting, Pod};

use super::container::prefix;

/// A run starts no more counters than this in a pod: each stays in the pod for good, and one that ends
/// so often will end again.
pub const MAX_COUNTERS: u32 = 5;

/// What the pod shows of the newest counter of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CounterState {
    /// None was ever started.
    Absent,
    /// It was asked for and does not run yet.
    Starting {
        /// Its number.
        n: u32,
    },
    /// It runs.
    Running {
        /// Its number.
        n: u32,
        /// Its container's name.
        name: String,
    },
    /// It has ended and will not come back.
    Ended {
        /// Its number.
        n: u32,
        /// How it ended.
        why: String,
    },
    /// It cannot start; the kubelet tries on.
    Failing {
        /// Its number.
        n: u32,
        /// What the kubelet says, and what to do.
        why: String,
    },
}

impl CounterState {
    /// The number of the counter to start now, if one is to be started.
    #[must_use]
    pub const fn next(&self) -> Option<u32> {
        match self {
            Self::Absent => Some(1),
            Self::Ended { n, .. } if *n < MAX_COUNTERS => Some(*n + 1),
            Self::Ended { .. } | Self::Starting { .. } | Self::Running { .. } | Self::Failing { .. } => None,
        }
    }
}

/// The state of the newest counter of this run in the pod.
#[must_use]
pub fn counter_state(pod: &Pod, run: &str) -> CounterState {
    let prefix = prefix(run);
    let started = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    let newest = started
        .filter_map(|container| {
            Some((container.name.strip_prefix(&prefix)?.parse::<u32>().ok()?, &container.name))
        })
        .max();
    let Some((n, name)) = newest else { return CounterState::Absent };
    let statuses = pod.status.iter().flat_map(|status| status.ephemeral_container_statuses.iter().flatten());
    let state = statuses.filter(|status| status.name == *name).find_map(|status| status.state.as_ref());
    let Some(state) = state else { return CounterState::Starting { n } };
    if state.running.is_some() {
        CounterState::Running { n, name: name.clone() }
    } else if let Some(ended) = &state.terminated {
        CounterState::Ended { n, why: how(ended) }
    } else {
        match state.waiting.as_ref().and_then(failing) {
            Some(why) => CounterState::Failing { n, why },
            None => CounterState::Starting { n },
        }
    }
}

/// The ports that the newest counter of this run was started with.
#[must_use]
pub fn counted_ports(pod: &Pod, run: &str) -> Option<BTreeSet<u16>> {
    let prefix = prefix(run);
    let started = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    let numbered = started.filter_map(|container| {
        Some((container.name.strip_prefix(&prefix)?.parse::<u32>().ok()?, container))
    });
    let (_, newest) = numbered.max_by_key(|(n, _)| *n)?;
    let command = newest.command.as_ref()?;
    let ports = command.iter().skip_while(|word| *word != "--ports").nth(1)?;
    ports.split(',').map(|port| port.parse().ok()).collect()
}

/// How many counters of any run there are in the pod; an ended one stays for as long as the pod does.
#[must_use]
pub fn counters(pod: &Pod) -> usize {
    let started = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    started.filter(|container| container.name.starts_with(super::container::ANY)).count()
}

fn how(ended: &ContainerStateTerminated) -> String {
    let reason = ended.reason.as_deref().unwrap_or("ended");
    let message = ended.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("{reason}, exit code {}{message}", ended.exit_code)
}

/// Why a waiting container will not start without help; none for the ordinary wait.
fn failing(waiting: &ContainerStateWaiting) -> Option<String> {
    let reason = waiting.reason.as_deref()?;
    let fix = match reason {
        "ContainerCreating" | "PodInitializing" => return None,
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            "; it is pulled with the pod's own pull secrets: check --counter-image, or use the http probe"
        }
        _ => "; or use the http probe",
    };
    let message = waiting.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    Some(format!("{reason}{message}{fix}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn state(names: &[&str], statuses: &Value) -> CounterState {
        let containers: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        let pod = json!({
            "spec": {"containers": [], "ephemeralContainers": containers},
            "status": {"ephemeralContainerStatuses": statuses},
        });
        counter_state(&from_value(pod).unwrap(), "r7")
    }

    fn status(name: &str, state: &Value) -> Value {
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state})
    }

    #[test]
    fn the_ports_that_the_newest_counter_counts_are_read_from_its_command() {
        let container = |name: &str, ports: &str| json!({"name": name, "command": ["/lossless-upgrade", "drain-counter", "--ports", ports, "--life", "1h"]});
        let pod: Pod = from_value(json!({"spec": {"containers": [], "ephemeralContainers": [
            container("lu-r7-1", "80"), container("lu-r7-2", "80,8443"), container("lu-r8-3", "1"),
            json!({"name": "debugger"}),
        ]}}))
        .unwrap();
        assert_eq!(counted_ports(&pod, "r7"), Some(BTreeSet::from([80, 8443])));
        assert_eq!(counted_ports(&pod, "r9"), None);
        assert_eq!(counters(&pod), 3);
    }

    #[test]
    fn only_the_counters_of_this_run_are_looked_at() {
        assert_eq!(state(&[], &json!([])), CounterState::Absent);
        assert_eq!(state(&["lu-r8-1", "debugger", "lu-r7-x"], &json!([])), CounterState::Absent);
        assert_eq!(counter_state(&Pod::default(), "r7"), CounterState::Absent);
    }

    #[test]
    fn the_newest_counts_and_numbers_are_compared_as_numbers() {
        let statuses = json!([
            status("lu-r7-9", &json!({"terminated": {"exitCode": 0}})),
            status("lu-r7-10", &json!({"running": {}})),
        ]);
        let running = state(&["lu-r7-10", "lu-r7-9"], &statuses);
        assert_eq!(running, CounterState::Running { n: 10, name: "lu-r7-10".to_owned() });
    }

    #[test]
    fn a_counter_without_a_state_is_starting() {
        for statuses in [
            json!([]),
            json!([status("lu-r7-1", &json!({}))]),
            json!([status("lu-r7-1", &json!({"waiting": {"reason": "ContainerCreating"}}))]),
        ] {
            assert_eq!(state(&["lu-r7-1"], &statuses), CounterState::Starting { n: 1 });
        }
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_said_with_what_to_do() {
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
        let CounterState::Failing { n: 1, why } = state(&["lu-r7-1"], &json!([status("lu-r7-1", &waiting)]))
        else {
            panic!("it does not start");
        };
        assert!(why.contains("no such image") && why.contains("--counter-image"), "{why}");
    }

    #[test]
    fn an_ended_counter_is_followed_by_the_next_up_to_a_bound() {
        let ended = |n| CounterState::Ended { n, why: String::new() };
        assert_eq!(CounterState::Absent.next(), Some(1));
        assert_eq!(ended(1).next(), Some(2));
        assert_eq!(ended(MAX_COUNTERS).next(), None);
        assert_eq!(CounterState::Starting { n: 1 }.next(), None);
        let oom = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let state = state(&["lu-r7-1"], &json!([status("lu-r7-1", &oom)]));
        assert_eq!(state, CounterState::Ended { n: 1, why: "OOMKilled, exit code 137".to_owned() });
    }
}
