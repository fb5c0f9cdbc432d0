//! An API server on the loopback that runs commands in pods as a script says, over a real websocket in
//! the form that the API server speaks (`v4.channel.k8s.io`, `v5.channel.k8s.io`), and that shows the pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::{HeaderValue, header};
use futures::{SinkExt, StreamExt};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// What the other side does after the command was started.
#[derive(Clone, Debug)]
pub(in crate::drain) enum Act {
    /// Prints on the standard output.
    Says(Vec<u8>),
    /// Prints on the standard error.
    Complains(Vec<u8>),
    /// Ends the command so; the connection stays open.
    Ends(Value),
    /// Breaks the connection off.
    Breaks,
}

/// What is answered instead of starting the command: a code and a message.
pub(in crate::drain) type Refused = Option<(u16, &'static str)>;

/// The server.
pub(in crate::drain) struct Server {
    /// Speaks with it.
    pub client: Client,
    /// Commands that were started, and those of them whose connection is closed.
    commands: watch::Receiver<(usize, usize)>,
    /// The last request for a command.
    asked: watch::Receiver<String>,
}

/// Exit status 0.
pub(in crate::drain) fn success() -> Act {
    Act::Ends(json!({"metadata": {}, "status": "Success"}))
}

/// Another exit status, as the kubelet tells it.
pub(in crate::drain) fn exit(code: u8) -> Act {
    Act::Ends(json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    }))
}

/// Prints this and ends well.
pub(in crate::drain) fn prints(text: &str) -> Vec<Act> {
    vec![Act::Says(text.into()), success()]
}

impl Server {
    /// Runs this script for each command, in a pod of this uid.
    pub async fn new(protocol: &'static str, script: Vec<Act>, uid: &'static str, refused: Refused) -> Self {
        Self::of(protocol, move |_| script.clone(), uid, refused).await
    }

    /// Runs for each command the script of its pod, by the path of the question.
    pub async fn of(
        protocol: &'static str,
        script: impl Fn(&str) -> Vec<Act> + Send + Sync + 'static,
        uid: &'static str,
        refused: Refused,
    ) -> Self {
        // A second installation changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = Config::new(format!("http://{address}").parse().unwrap());
        config.default_retry = false;
        let (counted, commands) = watch::channel((0, 0));
        let (counted, (ask, asked)) = (Arc::new(counted), watch::channel(String::new()));
        let (ask, script) = (Arc::new(ask), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, counted, ask) = (script.clone(), counted.clone(), ask.clone());
                tokio::spawn(async move {
                    let head = head(&stream).await;
                    if !head.contains("/exec?") {
                        return show(stream, uid).await;
                    }
                    ask.send_replace(head.lines().next().unwrap_or_default().to_owned());
                    if let Some((code, message)) = refused {
                        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": "", "code": code});
                        return answer(stream, code, &status).await;
                    }
                    counted.send_modify(|(started, _)| *started += 1);
                    let path = head.split(' ').nth(1).unwrap_or_default();
                    serve(stream, protocol, script(path)).await;
                    counted.send_modify(|(_, closed)| *closed += 1);
                });
            }
        });
        Self { client: Client::try_from(config).unwrap(), commands, asked }
    }

    /// Waits until so many commands were started and the connection of each is closed.
    pub async fn closed(&self, commands: usize) {
        let all = |seen: &(usize, usize)| *seen == (commands, commands);
        let mut seen = self.commands.clone();
        let seen = tokio::time::timeout(std::time::Duration::from_secs(20), seen.wait_for(all)).await;
        assert!(seen.is_ok(), "started and closed: {:?}", *self.commands.borrow());
    }

    /// Waits until so many commands were started.
    pub async fn started(&self, commands: usize) {
        self.commands.clone().wait_for(|(started, _)| *started >= commands).await.unwrap();
    }

    /// The request line of the last command, with its parameters by name.
    pub fn asked(&self) -> (String, BTreeMap<String, Vec<String>>) {
        let line = self.asked.borrow().clone();
        let (path, query) = line.split_once('?').unwrap();
        let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.split(' ').next().unwrap().as_bytes()) {
            parameters.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        (path.to_owned(), parameters)
    }
}

/// The request's head, left in the stream for who answers it.
async fn head(stream: &TcpStream) -> String {
    let mut bytes = vec![0; 65536];
    loop {
        let length = stream.peek(&mut bytes).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if length == 0 || text.contains("\r\n\r\n") {
            return text;
        }
        tokio::task::yield_now().await;
    }
}

async fn show(stream: TcpStream, uid: &str) {
    let metadata = json!({"name": "nginx-0", "namespace": "shop", "uid": uid});
    let pod = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
    answer(stream, 200, &pod).await;
}

async fn answer(mut stream: TcpStream, code: u16, body: &Value) {
    let mut request = vec![0; 65536];
    let _ = stream.read(&mut request).await;
    let body = body.to_string();
    let text = format!(
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(text.as_bytes()).await;
}

async fn serve(stream: TcpStream, protocol: &'static str, script: Vec<Act>) {
    #[expect(clippy::result_large_err, reason = "the form of the callback")]
    let choose = |request: &Request, mut response: Response| {
        let offered = request.headers()[header::SEC_WEBSOCKET_PROTOCOL].to_str().unwrap();
        assert!(offered.contains(protocol), "{offered}");
        let chosen = HeaderValue::from_static(protocol);
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, choose).await.unwrap();
    for act in script {
        let (channel, bytes) = match act {
            Act::Says(bytes) => (1, bytes),
            Act::Complains(bytes) => (2, bytes),
            Act::Ends(status) => (3, status.to_string().into_bytes()),
            Act::Breaks => return,
        };
        // As the kubelet does, in parts.
        for part in bytes.chunks(32 * 1024) {
            let message = [&[channel], part].concat();
            if socket.send(Message::binary(message)).await.is_err() {
                return;
            }
        }
    }
    // Whoever asked closes.
    while let Some(Ok(_)) = socket.next().await {}
}
