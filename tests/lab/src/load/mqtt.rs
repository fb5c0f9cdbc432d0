//! A client of an MQTT broker.

use std::{net::SocketAddr, time::Duration};

use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS};
use tokio::time::timeout;

use super::session::ANSWER;
use crate::oracle::Cause;

/// How often the broker hears of the client at least; it ends one that is silent for half as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// An open connection. Dropping it closes it.
pub(super) struct Mqtt {
    client: AsyncClient,
    events: EventLoop,
    topic: String,
}

impl Mqtt {
    /// One that has subscribed to its own topic.
    pub(super) async fn open(address: SocketAddr, name: &str) -> Result<Self, Cause> {
        let mut options = MqttOptions::new(name, address.ip().to_string(), address.port());
        options.set_keep_alive(KEEP_ALIVE);
        let (client, events) = AsyncClient::new(options, 8);
        let mut mqtt = Self { client, events, topic: format!("lab/{name}") };
        let connected = mqtt.sees(|event| matches!(event, Event::Incoming(Packet::ConnAck(_)))).await;
        connected.map_err(|cause| if cause == Cause::TimedOut { Cause::ConnectTimeout } else { cause })?;
        mqtt.client.try_subscribe(&mqtt.topic, QoS::AtLeastOnce).map_err(|_| Cause::Local)?;
        mqtt.sees(|event| matches!(event, Event::Incoming(Packet::SubAck(_)))).await?;
        Ok(mqtt)
    }

    /// Publishes, and waits for the broker's word that it has the message, and for the message.
    pub(super) async fn exchange(&mut self, number: u64) -> Result<(), Cause> {
        let text = number.to_string();
        let published = self.client.try_publish(&self.topic, QoS::AtLeastOnce, false, text.clone());
        published.map_err(|_| Cause::Local)?;
        let (mut taken, mut came) = (false, false);
        self.sees(|event| {
            match event {
                Event::Incoming(Packet::PubAck(_)) => taken = true,
                Event::Incoming(Packet::Publish(message)) => came |= message.payload == text.as_bytes(),
                _ => {}
            }
            taken && came
        })
        .await
    }

    /// Returns when the other side has cut the connection. Meanwhile it stays alive.
    pub(super) async fn is_cut(&mut self) -> Cause {
        loop {
            if let Err(error) = self.events.poll().await {
                return cause(&error);
            }
        }
    }

    /// Says so, as a client that does not want its last will sent.
    pub(super) async fn close(mut self) {
        if self.client.try_disconnect().is_ok() {
            let _gone = self.sees(|event| matches!(event, Event::Outgoing(Outgoing::Disconnect))).await;
        }
    }

    async fn sees(&mut self, mut wanted: impl FnMut(&Event) -> bool) -> Result<(), Cause> {
        let seen = async {
            loop {
                let event = self.events.poll().await.map_err(|error| cause(&error))?;
                if wanted(&event) {
                    return Ok(());
                }
            }
        };
        timeout(ANSWER, seen).await.unwrap_or(Err(Cause::TimedOut))
    }
}

fn cause(error: &ConnectionError) -> Cause {
    match error {
        ConnectionError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Cause::Refused,
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => Cause::TimedOut,
        ConnectionError::Io(_) | ConnectionError::MqttState(_) => Cause::Closed,
        ConnectionError::ConnectionRefused(_)
        | ConnectionError::NotConnAck(_)
        | ConnectionError::RequestsDone => Cause::Garbled,
    }
}
