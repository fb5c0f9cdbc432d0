//! What a balancer listens on.

use std::fmt;

/// What a listener carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Connections, which `HAProxy` passes on.
    Tcp,
    /// Packets. `HAProxy` carries none, so in the lab such a listener has no data path and no client: its pods and their
    /// weights are kept and shown as those of any other, and nothing ever goes through it.
    Udp,
}

impl Transport {
    /// As Kubernetes and Tencent write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// One listener of a balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// As the Service declares it.
    pub port: u16,
    /// What it carries.
    pub transport: Transport,
}

impl Listener {
    /// One for TCP.
    #[must_use]
    pub const fn tcp(port: u16) -> Self {
        Self { port, transport: Transport::Tcp }
    }

    /// One for UDP.
    #[must_use]
    pub const fn udp(port: u16) -> Self {
        Self { port, transport: Transport::Udp }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.transport.name())
    }
}
