//! Plans with short times, so that stories stay short.

use std::collections::BTreeMap;
use std::time::Duration;

use lossless_upgrade::workflow::plan::{Amount, DrainPlan, OnFailure, OnTimeout, Order, Plan, VerifyPlan};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One by one, a surge of one, follow mode.
pub fn one_by_one() -> Plan {
    Plan {
        paused: false,
        images: BTreeMap::new(),
        surge: None,
        volumes_decided: false,
        batch: Amount::Count(1),
        order: Order::Ascending,
        settle: seconds(2),
        confirm_timeout: seconds(30),
        drain: DrainPlan {
            idle_after: None,
            nudged: false,
            counted: true,
            stable_for: seconds(4),
            minimum: seconds(3),
            timeout: seconds(90),
            on_timeout: OnTimeout::Pause,
        },
        verify: VerifyPlan { timeout: seconds(60), soak: seconds(10), max_restarts: 0 },
        on_failure: OnFailure::Rollback,
    }
}

/// The images mode: the operator itself writes this image into the template.
pub fn with_image(image: &str) -> Plan {
    Plan { images: BTreeMap::from([("web".to_owned(), image.to_owned())]), ..one_by_one() }
}
