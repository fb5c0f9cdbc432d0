//! What only the kernel's `sock_diag` tells of the sockets of a network namespace (`man 7 sock_diag`): when
//! the last data went over a connection. It answers without any privilege.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

use super::silence::Silence;

/// How long the established connections to these local ports have been silent, IPv4 and IPv6. One that
/// holds bytes which one side has not taken yet is not silent, however old they are.
///
/// # Errors
/// The kernel does not answer, or not as documented.
pub fn silence(ports: &BTreeSet<u16>) -> io::Result<Silence> {
    let mut all = Silence::default();
    for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        each_established(family, any, |socket| {
            if ports.contains(&socket.header.socket_id.source_port) {
                all.add(silent(socket)?);
            }
            Ok(())
        })?;
    }
    Ok(all)
}

/// Looks at each established socket of a family, one after the other: there may be a hundred thousand.
fn each_established(
    family: u8,
    any: SocketId,
    mut look: impl FnMut(&InetResponse) -> io::Result<()>,
) -> io::Result<()> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&question(family, any), 0)?;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        if each(&datagram, &mut look)? {
            return Ok(());
        }
    }
}

/// Looks at each socket in a part of the kernel's answer. True: that was the end of it.
fn each(part: &[u8], look: &mut impl FnMut(&InetResponse) -> io::Result<()>) -> io::Result<bool> {
    let error = |code: i32| io::Error::from_raw_os_error(code.saturating_neg());
    let mut rest = part;
    while !rest.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
        match &message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => look(response)?,
            NetlinkPayload::Done(done) if done.code == 0 => return Ok(true),
            NetlinkPayload::Done(done) => return Err(error(done.code)),
            NetlinkPayload::Error(problem) => return Err(error(problem.raw_code())),
            other => return Err(io::Error::other(format!("unexpected answer: {other:?}"))),
        }
        // Messages are aligned to 4 bytes.
        let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn question(family: u8, any: SocketId) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::INFO,
        states: StateFlags::ESTABLISHED,
        socket_id: any,
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Offsets in the kernel's `struct tcp_info` (`include/uapi/linux/tcp.h`), which only ever grows at its end.
const LAST_DATA_SENT: usize = 44;
const LAST_DATA_RECV: usize = 52;

/// Since when neither side has sent data. Keep-alive probes of the kernel are no data.
fn silent(socket: &InetResponse) -> io::Result<Duration> {
    if socket.header.recv_queue > 0 || socket.header.send_queue > 0 {
        return Ok(Duration::ZERO);
    }
    let info = socket.nlas.iter().find_map(|attribute| match attribute {
        Nla::TcpInfo(bytes) => Some(bytes.as_slice()),
        _ => None,
    });
    let field = |offset: usize| {
        let bytes = info?.get(offset..offset + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let (sent, received) = field(LAST_DATA_SENT)
        .zip(field(LAST_DATA_RECV))
        .ok_or_else(|| io::Error::other("the kernel's tcp_info is missing or too short"))?;
    Ok(Duration::from_millis(sent.min(received).into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use netlink_packet_core::DoneMessage;
    use netlink_packet_sock_diag::inet::InetResponseHeader;
    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;

    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !holds() {
            assert!(begin.elapsed() < Duration::from_secs(10), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn of(listener: &TcpListener) -> Silence {
        silence(&BTreeSet::from([listener.local_addr().unwrap().port()])).unwrap()
    }

    #[test]
    fn a_connection_grows_silent_until_one_side_speaks() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine may have no IPv6.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            assert_eq!(of(&listener), Silence::default());
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let silent_for = |ms| of(&listener).at_least(Duration::from_millis(ms));
            assert_eq!(silent_for(0), 1);
            until("it is silent for a second", || silent_for(1000) == 1);

            server.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
            until("the server's byte is noticed", || silent_for(1000) == 0);
            until("it is silent again", || silent_for(1000) == 1);

            client.write_all(b"x").unwrap();
            until("the client's byte is noticed", || silent_for(1000) == 0);
            // Nobody has read it: it is owed an answer, however long that takes.
            let asked = Instant::now();
            until("more than a second passes", || asked.elapsed() > Duration::from_millis(1500));
            assert_eq!((silent_for(0), silent_for(1000)), (1, 0));
            server.read_exact(&mut [0]).unwrap();
            assert_eq!(silent_for(1000), 1);
            drop(client);
            until("a closed one is not there", || silent_for(0) == 0);
        }
    }

    /// A socket in the kernel's answer.
    #[derive(Clone, Debug)]
    struct Known {
        port: u16,
        queues: [u32; 2],
        sent: u32,
        received: u32,
        /// Bytes of its `tcp_info`.
        info: usize,
    }

    fn known() -> impl Strategy<Value = Known> {
        let queue = || prop_oneof![3 => Just(0), 1 => any::<u32>()];
        let fields = (any::<u16>(), [queue(), queue()], any::<u32>(), any::<u32>(), 0..248_usize);
        fields.prop_map(|(port, queues, sent, received, info)| Known { port, queues, sent, received, info })
    }

    /// What is to be said of it; none: the kernel has not told.
    fn expected(known: &Known) -> Option<Duration> {
        match (known.queues, known.info) {
            ([0, 0], ..=55) => None,
            ([0, 0], _) => Some(Duration::from_millis(known.sent.min(known.received).into())),
            _ => Some(Duration::ZERO),
        }
    }

    fn rendered(payload: NetlinkPayload<SockDiagMessage>) -> Vec<u8> {
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn response(known: &Known) -> Vec<u8> {
        let mut info = vec![0; 248];
        info[LAST_DATA_SENT..][..4].copy_from_slice(&known.sent.to_ne_bytes());
        info[LAST_DATA_RECV..][..4].copy_from_slice(&known.received.to_ne_bytes());
        info.truncate(known.info);
        let [recv_queue, send_queue] = known.queues;
        let socket_id = SocketId { source_port: known.port, ..SocketId::new_v4() };
        let (state, timer, uid, inode) = (1, None, 0, 0);
        let header = InetResponseHeader {
            family: AF_INET,
            state,
            timer,
            socket_id,
            recv_queue,
            send_queue,
            uid,
            inode,
        };
        let nlas = [Nla::Tos(0), Nla::TcpInfo(info)].into_iter().collect();
        let response = InetResponse { header, nlas };
        rendered(NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(Box::new(response))))
    }

    proptest! {
        #[test]
        fn each_socket_is_read_as_it_was_written_and_no_part_of_an_answer_is_its_end(
            all in prop::collection::vec(known(), 0..6), cut in any::<prop::sample::Index>(),
            (place, byte) in any::<(prop::sample::Index, u8)>(),
        ) {
            let mut bytes: Vec<u8> = all.iter().flat_map(response).collect();
            bytes.extend(rendered(NetlinkPayload::Done(DoneMessage::default())));
            let mut seen = Vec::new();
            let mut look = |socket: &InetResponse| {
                seen.push((socket.header.socket_id.source_port, silent(socket).ok()));
                Ok(())
            };
            prop_assert!(each(&bytes, &mut look).unwrap());
            let expected: Vec<_> = all.iter().map(|known| (known.port, expected(known))).collect();
            prop_assert_eq!(seen, expected);

            let mut count = 0;
            let end = each(&bytes[..cut.index(bytes.len())], &mut |_| { count += 1; Ok(()) });
            prop_assert!(!end.unwrap_or_default() && count <= all.len());
            // Whatever comes instead must not end the counter.
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let _ = each(&bytes, &mut |socket| silent(socket).map(drop));
        }

        #[test]
        fn whatever_the_kernel_says_does_not_end_the_counter(
            kind in prop_oneof![0..5_u16, Just(20)], family in prop_oneof![Just(AF_INET), Just(AF_INET6), any::<u8>()],
            body in prop::collection::vec(any::<u8>(), 0..200), extreme in any::<bool>(),
        ) {
            let mut bytes = u32::try_from(17 + body.len()).unwrap().to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.push(family);
            bytes.extend(body);
            if extreme && bytes.len() >= 20 {
                bytes[16..20].copy_from_slice(&i32::MIN.to_ne_bytes());
            }
            let _ = each(&bytes, &mut |socket| silent(socket).map(drop));
        }
    }
}
