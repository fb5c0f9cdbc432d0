use std::fmt::Write;

use serde_json::{Value, json};

use super::server::{Act, Server, exit, prints, success};
use super::*;
use crate::drain::contract::{
    LATER, World, api, given_up, holds, many_at_once, means, number_in, of_many, pod,
};

const V4: &str = "v4.channel.k8s.io";
const V5: &str = "v5.channel.k8s.io";

fn probe(client: Client, more: &Value) -> ExecProbe {
    let mut spec = json!({"container": "web", "command": ["sh", "-c", "count me"], "format": "Number"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let means = Means { allow_exec: true, ..means(client) };
    ExecProbe::new(&serde_json::from_value(spec).unwrap(), &means)
}

/// One that does not wait long, for a command that does not end.
fn hasty(probe: ExecProbe) -> ExecProbe {
    ExecProbe { patience: Duration::from_millis(300), ..probe }
}

/// What a script leads to, and its server: every connection is closed by the end.
async fn reading(script: Vec<Act>, more: Value) -> Reading {
    let server = Server::new(V5, script, "u-1", None).await;
    let reading = probe(server.client.clone(), &more).reader(&pod()).read().await;
    server.closed(1).await;
    reading
}

async fn why(script: Vec<Act>, more: Value) -> String {
    match reading(script, more).await {
        Reading::Unknown { why } => why,
        count @ Reading::Count { .. } => panic!("{count:?}"),
    }
}

/// The kernel's tables with so many connections on port 8443.
fn tables(count: u64) -> String {
    let rest = "00000000:00000000 00:00000000 00000000     0        0 34512 1 0000000000000000 20 4 1 42 -1";
    let mut text = format!(
        "  sl  local_address rem_address   st\n   0: 00000000:20FB 00000000:0000 0A {rest}\n  sl  local_address                         remote_address                        st\n"
    );
    for number in 0..count {
        writeln!(text, "{number:4}: 000:20FB 000:C53E 01 {rest}").unwrap();
    }
    text
}

/// Settings of a probe, and the output that says a count to it.
type Sample = (Value, fn(u64) -> String);

/// One of each format, and what says a count in it.
fn formats() -> [Sample; 3] {
    [
        (json!({}), |count| format!("{count}\n")),
        (json!({"format": "ProcNetTcp"}), tables),
        (json!({"format": "SsLines"}), |count| {
            "ESTAB 0 0 10.0.0.1:80 10.0.0.2:41094\n".repeat(usize::try_from(count).unwrap())
        }),
    ]
}

#[tokio::test]
async fn the_contract_holds_for_each_format_and_each_form_of_the_protocol() {
    for protocol in [V4, V5] {
        for (settings, text) in formats() {
            let lines = settings["format"] == "SsLines";
            holds(&format!("{protocol} {settings}"), async |world| {
                let script = match world {
                    World::Has(count) => prints(&text(count)),
                    // Nothing at all is an answer of ss; with a line it is not.
                    World::Empty => prints(if lines { "\n" } else { "" }),
                    World::Garbage => prints("<html>0</html>\n"),
                    World::CutOff => vec![Act::Says(text(7).into()), Act::Breaks],
                    World::Refuses => vec![Act::Says(text(0).into()), exit(1)],
                    World::Elsewhere => prints(&text(0)),
                    World::Endless => prints(&format!("{}{}", text(0), "\n".repeat(MOST_BYTES + 1))),
                    World::Silent => vec![Act::Says(text(0).into())],
                };
                // The client of the API server follows nobody, so where to is of no matter.
                let refused = (world == World::Elsewhere).then_some((307, "elsewhere"));
                let server = Server::new(protocol, script, "u-1", refused).await;
                let probe = probe(server.client, &settings);
                if world == World::Silent { hasty(probe).reader(&pod()) } else { probe.reader(&pod()) }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn it_asks_for_exactly_this_command_in_exactly_this_container() {
    let server = Server::new(V5, prints("3\n"), "u-1", None).await;
    let reading = probe(server.client.clone(), &json!({})).reader(&pod()).read().await;
    assert_eq!(reading, Reading::Count { connections: 3, new_per_second: None });
    let (path, parameters) = server.asked();
    assert_eq!(path, "GET /api/v1/namespaces/shop/pods/nginx-0/exec");
    let one = |text: &str| vec![text.to_owned()];
    let expected = [
        ("command".to_owned(), vec!["sh".to_owned(), "-c".to_owned(), "count me".to_owned()]),
        ("container".to_owned(), one("web")),
        ("stderr".to_owned(), one("true")),
        ("stdout".to_owned(), one("true")),
    ];
    assert_eq!(parameters.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn how_a_command_failed_is_told_with_its_own_words() {
    let complains = Act::Complains(b"\nsh: ss: not found\x1b[0m\nmore\n".to_vec());
    let told = why(vec![complains.clone(), exit(127)], json!({})).await;
    assert_eq!(told, "the command ended with exit status 127: sh: ss: not found[0m");
    let told = why(vec![Act::Says(b"0\n".to_vec()), complains, success()], json!({})).await;
    assert!(told.contains("standard error: sh: ss: not found"), "{told}");
    let told =
        why(vec![Act::Says(b"0\n".to_vec()), Act::Complains(b"\n".to_vec()), success()], json!({})).await;
    assert!(told.contains("blank"), "{told}");
    let not_run = json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
        "message": "error executing command in container: no such file"});
    let told = why(vec![Act::Ends(not_run)], json!({})).await;
    assert_eq!(told, "the command was not run: error executing command in container: no such file");
}

#[tokio::test]
async fn no_lines_of_ss_are_0_only_with_the_exit_status_seen_and_no_complaint() {
    let ss = || json!({"format": "SsLines"});
    assert_eq!(reading(vec![success()], ss()).await, Reading::Count { connections: 0, new_per_second: None });
    assert!(why(vec![Act::Breaks], ss()).await.contains("ended before"));
    let server = Server::new(V5, vec![], "u-1", None).await;
    let Reading::Unknown { why: told } =
        hasty(probe(server.client.clone(), &ss())).reader(&pod()).read().await
    else {
        panic!("no exit status")
    };
    assert!(told.contains("has not ended within"), "{told}");
    server.closed(1).await;
    assert!(why(vec![exit(1)], ss()).await.contains("exit status 1"));
    assert!(why(vec![Act::Complains(b"netlink: no\n".to_vec()), success()], ss()).await.contains("netlink"));
    assert!(why(vec![Act::Ends(json!("nonsense"))], ss()).await.contains("ended before"));
    assert!(why(vec![Act::Ends(json!({"metadata": {}}))], ss()).await.contains("not run"));
}

#[tokio::test]
async fn more_than_fits_is_unknown_and_is_not_read_to_its_end() {
    let told = why(vec![Act::Says(vec![b'0'; 3 * MOST_BYTES])], json!({})).await;
    assert!(told.contains("more than"), "{told}");
    let long = "ESTAB 0 0 10.0.0.1:80 10.0.0.2:1\n".repeat(20_000);
    let reading = reading(prints(&long), json!({"format": "SsLines"})).await;
    assert_eq!(reading, Reading::Count { connections: 20_000, new_per_second: None });
    // A complaint without end does not hold up what is asked for.
    let complaint = Act::Complains(vec![b'x'; 200_000]);
    let told = why(vec![complaint, Act::Says(b"0\n".to_vec()), success()], json!({})).await;
    assert!(told.contains("standard error") && told.len() < 300, "{told}");
}

#[tokio::test]
async fn a_refusal_of_the_api_server_is_told_with_what_to_do() {
    for (code, message, part) in [
        (403, "User \"x\" cannot create resource \"pods/exec\"", "grant it `get` and `create`"),
        (400, "container web is not valid for pod nginx-0", "is not valid for pod"),
        (404, "pods \"nginx-0\" not found", "not found"),
        (500, "cannot exec into a container in a completed pod", "completed pod"),
    ] {
        let server = Server::new(V5, vec![], "u-1", Some((code, message))).await;
        let probe = probe(server.client.clone(), &json!({}));
        let Reading::Unknown { why } = probe.reader(&pod()).read().await else { panic!("{message}") };
        assert!(why.contains(message) && why.contains(part), "{why}");
        let refusal = probe.admit(&pod()).await.unwrap_err();
        assert!(refusal.what.contains("nginx-0") && refusal.what.contains(message), "{refusal}");
    }
}

#[tokio::test]
async fn an_answer_of_another_pod_of_this_name_is_unknown() {
    let server = Server::new(V5, prints("0\n"), "u-2", None).await;
    let probe = probe(server.client.clone(), &json!({}));
    let Reading::Unknown { why } = probe.reader(&pod()).read().await else { panic!("another pod") };
    assert!(why.contains("another pod"), "{why}");
}

#[tokio::test]
async fn many_pods_are_read_at_once_and_each_connection_is_closed() {
    let count = |pod: &str| of_many(number_in(pod, "nginx-").unwrap());
    let script = move |pod: &str| count(pod).map_or(vec![], |count| prints(&format!("{count}\n")));
    let server = Server::of(V5, script, "u-1", None).await;
    let probe = ExecProbe { patience: TOTAL * 4, ..probe(server.client.clone(), &json!({})) };
    many_at_once("exec", |pod| probe.reader(&pod)).await;
    server.closed(40).await;
}

#[tokio::test]
async fn a_reading_that_is_given_up_leaves_the_next_one_alone() {
    given_up("exec", 1, async |hush| {
        let script = move |_: &str| if hush.falls() { vec![] } else { prints(&format!("{LATER}\n")) };
        let server = Server::of(V5, script, "u-1", None).await;
        probe(server.client, &json!({})).reader(&pod())
    })
    .await;
}

#[tokio::test]
async fn a_reading_that_nobody_waits_for_any_more_closes_its_connection() {
    let server = Server::new(V5, vec![], "u-1", None).await;
    let mut reader = probe(server.client.clone(), &json!({})).reader(&pod());
    let task = tokio::spawn(async move { reader.read().await });
    server.started(1).await;
    task.abort();
    server.closed(1).await;
}

#[tokio::test]
async fn without_leave_or_without_ports_nothing_is_run() {
    let asked_nothing = || api(|_| panic!("nothing is asked"));
    let mut forbidden = probe(asked_nothing(), &json!({}));
    forbidden.allowed = false;
    let refusal = forbidden.admit(&pod()).await.unwrap_err();
    assert!(refusal.fix.contains("--allow-exec") && !refusal.passing, "{refusal}");
    let Reading::Unknown { why } = forbidden.reader(&pod()).read().await else { panic!("not allowed") };
    assert!(why.contains("--allow-exec"), "{why}");

    let tables = probe(asked_nothing(), &json!({"format": "ProcNetTcp"}));
    let portless = PodTarget { ports: BTreeSet::new(), ..pod() };
    assert!(tables.admit(&portless).await.unwrap_err().fix.contains("`ports`"));
    let named = probe(asked_nothing(), &json!({"format": "ProcNetTcp", "ports": [9000]}));
    assert_eq!(*named.ports(&portless), BTreeSet::from([9000]));
}
