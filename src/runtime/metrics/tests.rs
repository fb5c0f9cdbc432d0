use super::*;

fn key(name: &str) -> Key {
    Key { namespace: "web".into(), name: name.into() }
}

fn everything(metrics: &Metrics, key: &Key, phase: &str) {
    let at = |second| Timestamp::from_second(second).unwrap();
    let now = ObjectMetrics {
        phase: Some(phase),
        step: Some("Drain"),
        replicas: Some((4, 1)),
        pods: &[("Serving", 3), ("Draining", 1)],
        connections_left: Some(12),
        last_progress: Some(at(1_700_000_000)),
        deadline: Some(at(1_700_000_600)),
        stalled: Some(("ProbeSilent", at(1_700_000_500))),
        paused: true,
        drain_timeouts: &[("Proceeded", 1)],
    };
    metrics.observe_object(key, &now);
    metrics.phase_took(key, phase, Duration::from_millis(1500));
    metrics.acted_late(key, Duration::from_millis(20));
    metrics.run_ended(key, "Succeeded");
    metrics.backs_off(key, Some(Duration::from_secs(2)));
}

#[test]
fn an_object_is_in_one_phase_only() {
    let metrics = Metrics::new().unwrap();
    everything(&metrics, &key("nginx"), "Detach");
    everything(&metrics, &key("nginx"), "Drain");
    let text = metrics.encode().unwrap();
    assert!(
        text.contains("lossless_upgrade_info{name=\"nginx\",namespace=\"web\",phase=\"Drain\"} 1"),
        "{text}"
    );
    assert!(
        !text.contains("lossless_upgrade_info{name=\"nginx\",namespace=\"web\",phase=\"Detach\"}"),
        "{text}"
    );
    assert!(text.contains("phase=\"Detach\"} 1.5"), "the time spent in it stays\n{text}");
}

#[test]
fn what_is_no_longer_true_of_an_object_has_no_series() {
    let metrics = Metrics::new().unwrap();
    everything(&metrics, &key("nginx"), "Drain");
    let idle = ObjectMetrics { phase: Some("Idle"), pods: &[("Serving", 4)], ..ObjectMetrics::default() };
    metrics.observe_object(&key("nginx"), &idle);
    let text = metrics.encode().unwrap();
    let gone = ["Draining", "connections_left{", "deadline", "step=", "stalled", "paused", "drain_timeouts"];
    for what in gone {
        assert!(!text.contains(what), "{what}\n{text}");
    }
    assert!(text.contains("state=\"Serving\"} 4"), "{text}");
}

#[test]
fn an_object_that_backs_off_shows_for_how_long_until_it_was_looked_at_to_the_end() {
    let metrics = Metrics::new().unwrap();
    metrics.backs_off(&key("nginx"), Some(Duration::from_millis(1500)));
    let line = "lossless_upgrade_backoff_seconds{name=\"nginx\",namespace=\"web\"} 1.5";
    assert!(metrics.encode().unwrap().contains(line), "{}", metrics.encode().unwrap());
    metrics.backs_off(&key("nginx"), None);
    assert!(!metrics.encode().unwrap().contains("backoff_seconds{"));
}

#[test]
fn a_deleted_object_leaves_no_series_and_the_others_keep_theirs() {
    let metrics = Metrics::new().unwrap();
    everything(&metrics, &key("gone"), "Drain");
    everything(&metrics, &key("gone"), "Replace");
    let without_it = {
        let only = Metrics::new().unwrap();
        everything(&only, &key("stays"), "Drain");
        only.encode().unwrap()
    };
    everything(&metrics, &key("stays"), "Drain");
    metrics.forget(&key("gone"));
    assert_eq!(metrics.encode().unwrap(), without_it);
}

#[test]
fn a_process_that_no_longer_acts_shows_no_object_and_keeps_its_counters() {
    let metrics = Metrics::new().unwrap();
    everything(&metrics, &key("nginx"), "Drain");
    metrics.stop_observing();
    let text = metrics.encode().unwrap();
    assert!(!text.contains("lossless_upgrade_info") && !text.contains("lossless_upgrade_pods"), "{text}");
    assert!(text.contains("lossless_upgrade_runs_total{name=\"nginx\""), "{text}");
}

#[test]
fn the_process_counts_its_writes_errors_and_reconciles() {
    let metrics = Metrics::new().unwrap();
    metrics.api_write("pod");
    metrics.api_write("pod");
    metrics.reconcile_took(Duration::from_millis(7));
    metrics.reconcile_failed("Conflict");
    metrics.api_request("PATCH", Some(409));
    metrics.api_request("GET", None);
    metrics.lever_abandoned();
    let text = metrics.encode().unwrap();
    for line in [
        "lossless_upgrade_api_writes_total{kind=\"pod\"} 2",
        "lossless_upgrade_reconcile_seconds_bucket{le=\"0.01\"} 1",
        "lossless_upgrade_reconcile_errors_total{class=\"Conflict\"} 1",
        "lossless_upgrade_api_requests_total{code=\"409\",method=\"PATCH\"} 1",
        "lossless_upgrade_api_requests_total{code=\"none\",method=\"GET\"} 1",
        "lossless_upgrade_levers_abandoned_total 1",
        "lossless_upgrade_leader 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn an_object_that_is_gone_leaves_nothing_of_any_metric_that_is_about_objects() {
    let metrics = Metrics::new().unwrap();
    everything(&metrics, &key("nginx"), "Drain");
    let text = metrics.encode().unwrap();
    let of_objects =
        metrics.described().iter().filter(|metric| metric.labels.iter().any(|one| one == "name"));
    for metric in of_objects {
        assert!(text.contains(&format!("\n{}{{name=\"nginx\"", metric.name)), "{} is not tried", metric.name);
    }
    metrics.forget(&key("nginx"));
    assert!(!metrics.encode().unwrap().contains("nginx"), "{}", metrics.encode().unwrap());
}
