//! A client of Redis, as its most used library makes one.

use std::net::SocketAddr;

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, PushInfo, PushKind, RedisError, aio::MultiplexedConnection,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

use super::session::ANSWER;
use crate::oracle::Cause;

/// How long the server is to wait for an element that never comes: shorter than [`ANSWER`], long enough to be cut.
const NEVER: &str = "2";

/// Every so many exchanges wait for an element that never comes.
const EVERY: u64 = 4;

/// An open connection. Dropping it closes it.
pub(super) struct Redis {
    connection: MultiplexedConnection,
    name: String,
    /// What the server sends unasked, and the end of the connection.
    pushed: UnboundedReceiver<PushInfo>,
    subscribed: bool,
}

impl Redis {
    /// One that waits for the elements of its own lists.
    pub(super) async fn open(address: SocketAddr, name: &str) -> Result<Self, Cause> {
        let client =
            Client::open(format!("redis://{address}/?protocol=resp3")).map_err(|error| cause(&error))?;
        let (sender, pushed) = unbounded_channel();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(sender);
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connection.map_err(|error| match cause(&error) {
            Cause::TimedOut => Cause::ConnectTimeout,
            other => other,
        })?;
        Ok(Self { connection, name: name.to_owned(), pushed, subscribed: false })
    }

    /// One that has subscribed to its own channel.
    pub(super) async fn subscribed(address: SocketAddr, name: &str) -> Result<Self, Cause> {
        let mut redis = Self::open(address, name).await?;
        redis.connection.subscribe(name).await.map_err(|error| cause(&error))?;
        redis.subscribed = true;
        Ok(redis)
    }

    pub(super) async fn exchange(&mut self, number: u64) -> Result<(), Cause> {
        if self.subscribed { self.publish(number).await } else { self.wait(number).await }
    }

    async fn publish(&mut self, number: u64) -> Result<(), Cause> {
        let text = number.to_string();
        let takers: u64 = ask(&mut self.connection, &["PUBLISH", &self.name, &text]).await?;
        if takers != 1 {
            return Err(Cause::Garbled);
        }
        let message = async {
            while let Some(PushInfo { kind, data }) = self.pushed.recv().await {
                match kind {
                    PushKind::Message => {
                        let [_channel, payload] = data.as_slice() else { return Err(Cause::Garbled) };
                        let payload = String::from_redis_value_ref(payload).map_err(|_| Cause::Garbled)?;
                        return if payload == text { Ok(()) } else { Err(Cause::Garbled) };
                    }
                    PushKind::Disconnection => return Err(Cause::Closed),
                    // What it says of the subscription itself.
                    _ => {}
                }
            }
            Err(Cause::Closed)
        };
        timeout(ANSWER, message).await.unwrap_or(Err(Cause::TimedOut))
    }

    async fn wait(&mut self, number: u64) -> Result<(), Cause> {
        let Self { connection, name, .. } = self;
        if number % EVERY == EVERY - 1 {
            let never = format!("{name}-never");
            let got: Option<(String, String)> = ask(connection, &["BLPOP", &never, NEVER]).await?;
            return if got.is_none() { Ok(()) } else { Err(Cause::Garbled) };
        }
        let text = number.to_string();
        let _length: u64 = ask(connection, &["RPUSH", name, &text]).await?;
        let got: Option<(String, String)> = ask(connection, &["BLPOP", name, NEVER]).await?;
        if got.is_some_and(|(_, element)| element == text) { Ok(()) } else { Err(Cause::Garbled) }
    }

    /// Returns when the other side has cut the connection.
    pub(super) async fn is_cut(&mut self) -> Cause {
        while let Some(PushInfo { kind, .. }) = self.pushed.recv().await {
            if kind == PushKind::Disconnection {
                break;
            }
        }
        Cause::Closed
    }
}

async fn ask<T: FromRedisValue>(connection: &mut MultiplexedConnection, words: &[&str]) -> Result<T, Cause> {
    let mut command = redis::Cmd::new();
    command.arg(words);
    command.query_async(connection).await.map_err(|error| cause(&error))
}

fn cause(error: &RedisError) -> Cause {
    if error.is_timeout() {
        Cause::TimedOut
    } else if error.is_connection_refusal() {
        Cause::Refused
    } else if error.is_connection_dropped() || error.is_io_error() {
        Cause::Closed
    } else {
        Cause::Garbled
    }
}
