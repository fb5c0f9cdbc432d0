//! Connections on which nothing happens: they hold a drain until `drain.idleAfter` says that they need not.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture, try_join_all};
use kube::api::{Patch, PatchParams};
use lab::load::Profile;
use lab::scenario::{App, Stage};
use libtest_mimic::Failed;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{as_before, begin, drains, is_in, objects, phase, unharmed};

const IDLE: &str = "idle";
const CLIENTS: usize = 8;

/// The lab's nginx closes a connection on which nothing was asked for this long.
const NGINX: Duration = Duration::from_secs(75);

pub fn left_out(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = begin(stage, App { replicas: 2, ..App::nginx(IDLE) }, |spec| {
            spec["batches"] = json!({"size": 2});
        })
        .await?;
        let front = app.targets().first().ok_or("no listener")?.address;
        let began = lab::clock::now();
        let silent = try_join_all((0..CLIENTS).map(|_| silent_client(front))).await?;
        let run = app
            // No request that takes long: nothing but the silent ones may hold the drain.
            .run_under(&Profile { long_per_second: 0.0, ..Profile::default() }, async {
                app.set_image("lab/nginx:v2").await?;
                drains(stage, IDLE, 0).await?;
                // The control: they are silent for longer than is asked for below, and still hold the drain.
                tokio::time::sleep(Duration::from_secs(15)).await;
                assert_eq!(silent.iter().filter(|client| is_open(client)).count(), CLIENTS);
                assert_eq!(phase(&objects(stage, IDLE).get("nginx").await?), "Drain");
                let patch = Patch::Merge(json!({"spec": {"drain": {"idleAfter": "10s"}}}));
                objects(stage, IDLE).patch("nginx", &PatchParams::default(), &patch).await?;
                is_in(stage, IDLE, "Succeeded").await.map(drop)
            })
            .await?;
        unharmed(&run)?;
        assert_eq!(silent.iter().filter(|client| is_open(client)).count(), 0, "they went with their pods");
        // Two of the first revision and the surge.
        assert_eq!(run.deletions.len(), 4);
        for deletion in &run.deletions[..2] {
            let age = Duration::try_from(deletion.at.duration_since(began))?;
            assert!(age < NGINX, "nginx had closed them by itself: {age:?}");
            assert_eq!(deletion.backends.iter().map(|backend| backend.weight).max(), Some(0));
        }
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// One that asks once, and then keeps its connection for nothing.
async fn silent_client(front: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(front).await?;
    stream.write_all(b"GET /version HTTP/1.1\r\nHost: lab\r\n\r\n").await?;
    let mut answer = [0; 4096];
    assert!(stream.read(&mut answer).await? > 0, "no answer");
    Ok(stream)
}

fn is_open(client: &TcpStream) -> bool {
    loop {
        match client.try_read(&mut [0; 4096]) {
            // The end of the answer.
            Ok(1..) => {}
            Ok(0) => return false,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}
