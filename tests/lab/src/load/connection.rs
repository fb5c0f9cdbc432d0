//! One HTTP connection of a client, and what exactly became of a request on it.

use std::{
    error::Error as _,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{CONNECTION, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use crate::oracle::{Cause, Server, Tally};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Whether the connection is to live on after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Another request may follow.
    Keep,
    /// The server is asked to close it.
    Close,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The whole answer came, and it was right.
    Answered(Server),
    /// It did not.
    Lost(Cause),
    /// The connection had ended before anything of the request was written: it may be asked on another one.
    NotWritten,
}

/// An open connection. Dropping it closes it.
pub(super) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    end: Arc<End>,
    /// Nothing more was to come: the server was asked to close it, or an answer failed, which is counted as that.
    done: bool,
}

/// Counts a connection that the other side ended, once: hyper tells it to the one who asks, or to the one who
/// drives the connection, or to both.
struct End {
    tally: Arc<Tally>,
    counted: AtomicBool,
}

impl End {
    fn severed(&self) {
        if !self.counted.swap(true, Ordering::Relaxed) {
            self.tally.severed();
        }
    }

    fn closed(&self) {
        if !self.counted.swap(true, Ordering::Relaxed) {
            self.tally.closed();
        }
    }
}

impl Drop for Connection {
    /// Only here the client lets go: what has ended by now was ended by the server.
    fn drop(&mut self) {
        if self.sender.is_closed() && !self.done {
            self.end.closed();
        }
    }
}

impl Connection {
    /// Opens one. If the other side ends it, that is counted in `tally`.
    pub(super) async fn open(address: SocketAddr, tally: &Arc<Tally>) -> Result<Self, Cause> {
        let stream = match timeout(CONNECT, TcpStream::connect(address)).await {
            Err(_) => return Err(Cause::ConnectTimeout),
            Ok(Err(error)) => return Err(of_io(&error)),
            Ok(Ok(stream)) => stream,
        };
        stream.set_nodelay(true).map_err(|error| of_io(&error))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| of_hyper(&error))?;
        let end = Arc::new(End { tally: Arc::clone(tally), counted: AtomicBool::new(false) });
        let idle = Arc::clone(&end);
        tokio::spawn(async move {
            if let Err(error) = connection.await
                && !error.is_canceled()
            {
                idle.severed();
            }
        });
        Ok(Self { sender, end, done: false })
    }

    /// Asks and reads to the end of the answer, at most until `deadline`.
    pub(super) async fn ask(&mut self, path: &str, host: &str, after: After, deadline: Instant) -> Outcome {
        self.done = after == After::Close;
        let outcome = self.exchange(path, host, after, deadline).await;
        if let Outcome::Lost(cause) = outcome {
            self.done = true;
            if matches!(cause, Cause::Closed | Cause::Reset | Cause::Truncated) {
                self.end.severed();
            }
        }
        outcome
    }

    async fn exchange(&mut self, path: &str, host: &str, after: After, deadline: Instant) -> Outcome {
        let Some(request) = request(path, host, after) else { return Outcome::Lost(Cause::Local) };
        if self.sender.ready().await.is_err() {
            return Outcome::NotWritten;
        }
        let answer = match timeout_at(deadline, self.sender.try_send_request(request)).await {
            Err(_) => return Outcome::Lost(Cause::TimedOut),
            // hyper gives the request back only while none of it was put on the connection.
            Ok(Err(error)) if error.message().is_some() => return Outcome::NotWritten,
            Ok(Err(error)) => return Outcome::Lost(of_hyper(error.error())),
            Ok(Ok(answer)) => answer,
        };
        match timeout_at(deadline, read(answer)).await {
            Err(_) => Outcome::Lost(Cause::TimedOut),
            Ok(Err(cause)) => Outcome::Lost(cause),
            Ok(Ok(server)) => Outcome::Answered(server),
        }
    }
}

fn request(path: &str, host: &str, after: After) -> Option<Request<Empty<Bytes>>> {
    let mut request = Request::get(path).header(HOST, host).body(Empty::new()).ok()?;
    match after {
        After::Keep => {}
        After::Close => {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    Some(request)
}

async fn read(answer: Response<Incoming>) -> Result<Server, Cause> {
    let (head, mut body) = answer.into_parts();
    // Without a length the end of the connection would pass for the end of the answer.
    if body.size_hint().exact().is_none() {
        return Err(Cause::Garbled);
    }
    while let Some(frame) = body.frame().await {
        frame.map_err(|error| match of_hyper(&error) {
            Cause::Closed => Cause::Truncated,
            other => other,
        })?;
    }
    if head.status != StatusCode::OK {
        return Err(Cause::Status(head.status.as_u16()));
    }
    let header = |name| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    Ok(Server { pod: header("x-pod"), version: header("x-version") })
}

fn of_hyper(error: &hyper::Error) -> Cause {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return of_io(io);
        }
        source = inner.source();
    }
    if error.is_parse() { Cause::Garbled } else { Cause::Closed }
}

fn of_io(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Cause::Refused,
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable => Cause::ConnectTimeout,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => Cause::Reset,
        io::ErrorKind::UnexpectedEof => Cause::Closed,
        _ => Cause::Local,
    }
}
