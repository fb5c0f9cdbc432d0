//! The load against small servers that each do one thing wrong.

use std::{future::Future, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{Load, LoadPlan, Profile, Target};
use crate::oracle::{Cause, Kind, LossReport, Server};

const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-pod: web-0\r\nx-version: v1\r\n\r\nok";

/// A server that does `serve` with each connection.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads one request; false when the client closed instead.
async fn request(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read_buf(&mut seen).await {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
    }
    true
}

/// Answers every request with `answer`.
async fn answering(answer: &'static [u8]) -> SocketAddr {
    server(move |mut stream| async move {
        while request(&mut stream).await {
            stream.write_all(answer).await.unwrap();
        }
    })
    .await
}

fn none() -> Profile {
    Profile { keep_alive_connections: 2, ..Profile::none() }
}

async fn run(address: SocketAddr, profile: Profile) -> LossReport {
    let targets = vec![Target { name: "web".to_owned(), address }];
    let load = Load::start(&LoadPlan { targets, profile });
    tokio::time::sleep(Duration::from_millis(300)).await;
    load.stop().await
}

/// All lost for this one cause, and there were some.
fn assert_all_lost(report: &LossReport, kind: Kind, cause: Cause) {
    let of_kind = &report.kinds[&kind];
    assert!(of_kind.requests > 5, "{report}");
    assert_eq!(of_kind.lost.get(&cause), Some(&of_kind.requests), "{report}");
}

#[tokio::test]
async fn whole_answers_are_no_loss_and_say_who_gave_them() {
    let address = answering(WHOLE).await;
    let profile =
        Profile { keep_alive_per_second: 100.0, one_shot_per_second: 50.0, long_per_second: 20.0, ..none() };
    let report = run(address, profile).await;
    assert_eq!(report.lost(), 0, "{report}");
    assert!(report.requests() > 30, "{report}");
    let server = Server { pod: "web-0".to_owned(), version: "v1".to_owned() };
    assert_eq!(report.servers[&server], report.requests());
    assert!(report.kinds.values().all(|kind| kind.completed == kind.requests));
    assert_eq!(
        (report.severed, report.closed),
        (0, 0),
        "each connection was the client's to close: {report}"
    );
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let report = run(address, Profile { one_shot_per_second: 50.0, ..none() }).await;
    assert_all_lost(&report, Kind::OneShot, Cause::Refused);
}

#[tokio::test]
async fn a_close_without_an_answer_is_a_loss() {
    let address = server(|mut stream| async move {
        request(&mut stream).await;
    })
    .await;
    let report = run(address, Profile { keep_alive_per_second: 100.0, ..none() }).await;
    assert_all_lost(&report, Kind::KeepAlive, Cause::Closed);
    assert!(report.severed > 0);
    assert_eq!(report.closed, 0, "a cut is counted once: {report}");
}

#[tokio::test]
async fn half_an_answer_is_a_loss() {
    let address = server(|mut stream| async move {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    })
    .await;
    let report = run(address, Profile { long_per_second: 50.0, ..none() }).await;
    assert_all_lost(&report, Kind::Long, Cause::Truncated);
}

#[tokio::test]
async fn a_reset_is_a_loss_and_severed() {
    let address = server(|mut stream| async move {
        // Closing with unread bytes makes the kernel send a reset.
        let mut one = [0];
        stream.read_exact(&mut one).await.unwrap();
    })
    .await;
    let report = run(address, Profile { one_shot_per_second: 50.0, ..none() }).await;
    assert_all_lost(&report, Kind::OneShot, Cause::Reset);
    assert!(report.severed > 0);
}

#[tokio::test]
async fn a_wrong_status_is_a_loss() {
    let address = answering(b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let report = run(address, Profile { one_shot_per_second: 50.0, ..none() }).await;
    assert_all_lost(&report, Kind::OneShot, Cause::Status(503));
}

#[tokio::test]
async fn an_answer_of_unknown_length_is_a_loss() {
    let address = server(|mut stream| async move {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nwho knows").await.unwrap();
    })
    .await;
    let report = run(address, Profile { one_shot_per_second: 50.0, ..none() }).await;
    assert_all_lost(&report, Kind::OneShot, Cause::Garbled);
}

#[tokio::test]
async fn a_kept_connection_closed_between_requests_costs_nothing_and_is_counted_apart() {
    let address = server(|mut stream| async move {
        request(&mut stream).await;
        stream.write_all(WHOLE).await.unwrap();
    })
    .await;
    // Slow enough that the close is seen before the next request.
    let report = run(address, Profile { keep_alive_per_second: 40.0, ..none() }).await;
    assert_eq!(report.lost(), 0, "{report}");
    assert_eq!(report.severed, 0, "{report}");
    assert!(report.closed > 3, "{report}");
    assert!(report.requests() > 5);
}
