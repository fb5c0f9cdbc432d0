//! The connections that clients have to a pod, by the kernel's tables, told from the probes of the kubelet.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

/// Between the two looks at a pod's connections.
const SECOND_LOOK: Duration = Duration::from_millis(30);

/// A connection that a pod has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The pod's end and the other one, in the kernel's own hexadecimal form.
    pub ends: String,
    /// The process on the node that holds the other end. None: there is none, or its socket is closed by now.
    pub holder: Option<String>,
}

/// What clients have open to the network namespace of a process, and how many probes of the kubelet are under way;
/// None when that is gone.
///
/// The kubelet's own probes come from the address that clients have too, and are mostly over in a millisecond: what
/// a client would lose is still there at the second look. On a busy machine they take as long as a request, so it
/// is asked in between who holds the other end.
pub(super) async fn look(process: u32, ports: &[u16]) -> Option<(Vec<Connection>, usize)> {
    let first = with_holders(established(process, ports)?);
    let probes = first.iter().filter(|one| one.is_a_probe()).count();
    tokio::time::sleep(SECOND_LOOK).await;
    Some((judged(first, established(process, ports).as_ref()), probes))
}

impl Connection {
    fn is_a_probe(&self) -> bool {
        self.holder.as_deref() == Some("kubelet")
    }
}

/// What of the first look were clients.
///
/// A server that has nothing to do ends within milliseconds of its deletion. Then there is no second look, and only
/// a connection whose other end was still held by then counts: one that was let go by both ends may as well have been
/// a probe that was over. A client whose request was cut short says so itself.
fn judged(first: Vec<Connection>, second: Option<&BTreeSet<String>>) -> Vec<Connection> {
    let counts = |one: &Connection| match second {
        Some(second) => second.contains(&one.ends),
        None => one.holder.is_some(),
    };
    first.into_iter().filter(|one| !one.is_a_probe() && counts(one)).collect()
}

/// Established connections on `ports` in the network namespace of a process; none when it is gone.
fn established(process: u32, ports: &[u16]) -> Option<BTreeSet<String>> {
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{process}/net/{table}")));
    let [v4, v6] = tables;
    let mut open = open(&v4.ok()?, ports);
    // A kernel without IPv6 has no second table.
    open.extend(v6.iter().flat_map(|table| self::open(table, ports)));
    Some(open)
}

/// The connections in a table of the form `sl local_address rem_address st ...`, whose addresses end in `:PORT` and
/// whose numbers are hexadecimal; state 01 is ESTABLISHED.
fn open(table: &str, ports: &[u16]) -> BTreeSet<String> {
    let connection = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (state == "01" && ports.contains(&port)).then(|| format!("{local} {remote}"))
    };
    table.lines().skip(1).filter_map(connection).collect()
}

/// Asks who holds the other ends, as of now.
fn with_holders(open: BTreeSet<String>) -> Vec<Connection> {
    if open.is_empty() {
        return Vec::new();
    }
    let sockets = sockets(&fs::read_to_string("/proc/self/net/tcp").unwrap_or_default());
    let holders = holders();
    let holder = |ends: &str| {
        let (pod, node) = ends.split_once(' ')?;
        holders.get(sockets.get(&format!("{node} {pod}"))?).cloned()
    };
    open.into_iter().map(|ends| Connection { holder: holder(&ends), ends }).collect()
}

/// The inode of each socket in a table, by its two ends.
fn sockets(table: &str) -> BTreeMap<String, String> {
    let socket = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let ends = format!("{} {}", fields.next()?, fields.next()?);
        // After the addresses: state, queues, timer, retransmissions, user, time-out.
        Some((ends, fields.nth(6)?.to_owned()))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// The name of the process that holds a socket, by the socket's inode, for all processes.
fn holders() -> BTreeMap<String, String> {
    let of = |process: fs::DirEntry| {
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        let files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        let links = files.filter_map(|file| fs::read_link(file.path()).ok());
        let inode = |link: std::path::PathBuf| {
            Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
        };
        Some(links.filter_map(inode).map(|inode| (inode, name.trim_end().to_owned())).collect::<Vec<_>>())
    };
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(of).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_established_connections_on_the_serving_ports_are_counted() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
            0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n\
            1: 0A00F40A:0050 0100F40A:A1B2 01 00000000:00000000 00:00000000 00000000     0\n\
            2: 0A00F40A:0050 0100F40A:A1B3 06 00000000:00000000 00:00000000 00000000     0\n\
            3: 0A00F40A:1F91 0100F40A:A1B4 01 00000000:00000000 00:00000000 00000000     0\n\
            4: 0A00F40A:C350 0100F40A:0050 01 00000000:00000000 00:00000000 00000000     0\n";
        assert_eq!(open(table, &[80]).len(), 1);
        assert_eq!(open(table, &[80, 8081]).len(), 2);
        assert_eq!(open("", &[80]).len(), 0);
    }

    #[test]
    fn a_socket_is_known_by_both_its_ends() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100F40A:A1B2 0A00F40A:0050 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n\
            1: 0100F40A:A1B3 0A00F40A:0050 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n";
        let sockets = sockets(table);
        assert_eq!(sockets.get("0100F40A:A1B3 0A00F40A:0050").map(String::as_str), Some("4712"));
        assert_eq!(sockets.len(), 2);
    }

    #[test]
    fn the_holder_of_a_socket_is_found_while_it_is_open() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_served, _) = listener.accept().unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = with_holders(established(std::process::id(), &[port]).unwrap());
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(found.iter().map(|one| one.holder.as_deref()).collect::<Vec<_>>(), [Some(own.trim_end())]);
        drop(client);
    }

    #[test]
    fn a_clients_connection_counts_and_a_probe_does_not() {
        let one = |holder: Option<&str>| {
            vec![Connection { ends: "pod node".to_owned(), holder: holder.map(str::to_owned) }]
        };
        let (there, over) = (BTreeSet::from(["pod node".to_owned()]), BTreeSet::new());
        // By holder: counted when still there, when over, when the server had ended.
        for (holder, counts) in [
            (Some("haproxy"), [true, false, true]),
            // Nobody knows whose it is: what stays open counts.
            (None, [true, false, false]),
            (Some("kubelet"), [false, false, false]),
        ] {
            let seconds = [Some(&there), Some(&over), None];
            assert_eq!(seconds.map(|second| !judged(one(holder), second).is_empty()), counts, "{holder:?}");
        }
    }
}
