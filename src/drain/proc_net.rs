//! What the kernel tells about the sockets of a network namespace, in `/proc/net`
//! (documented in the kernel's `networking/proc_net_tcp` and `networking/snmp_counter`).

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// The files of one network namespace.
#[derive(Clone, Debug)]
pub struct ProcNet {
    folder: PathBuf,
}

impl Default for ProcNet {
    fn default() -> Self {
        Self { folder: PathBuf::from("/proc/net") }
    }
}

/// What could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProcProblem {
    /// A file is missing or refuses.
    #[error("cannot read {file}: {source}")]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file does not look as the kernel documents it.
    #[error("{file} is not as expected: {line}")]
    Unexpected {
        /// Which file.
        file: &'static str,
        /// The line at fault.
        line: String,
    },
}

impl ProcNet {
    /// The same files in another folder.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Connections to these local ports that may still owe bytes, IPv4 and IPv6.
    ///
    /// # Errors
    /// A file cannot be read or understood. A kernel without IPv6 has no `tcp6`, which is no error.
    pub fn connections(&self, ports: &BTreeSet<u16>) -> Result<u64, ProcProblem> {
        let four = connections(&self.read("tcp")?, ports)?;
        let six = match self.read("tcp6") {
            Ok(text) => connections(&text, ports)?,
            Err(ProcProblem::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => 0,
            Err(problem) => return Err(problem),
        };
        Ok(four + six)
    }

    /// Connections that clients have opened since the namespace was made, on every port.
    ///
    /// # Errors
    /// The file cannot be read or understood.
    pub fn passive_opens(&self) -> Result<u64, ProcProblem> {
        passive_opens(&self.read("snmp")?)
    }

    fn read(&self, name: &str) -> Result<String, ProcProblem> {
        let file: &Path = &self.folder.join(name);
        std::fs::read_to_string(file)
            .map_err(|source| ProcProblem::Unreadable { file: file.to_owned(), source })
    }
}

/// Whether a connection in this state may still owe bytes to its client. The numbers are the kernel's
/// (`include/net/tcp_states.h`). `FIN_WAIT2` and `TIME_WAIT` do not: there the client has confirmed all
/// that was sent, the end included.
fn owes(state: u8) -> bool {
    const ESTABLISHED: u8 = 1;
    const SYN_RECV: u8 = 3;
    const FIN_WAIT1: u8 = 4;
    const CLOSE_WAIT: u8 = 8;
    const LAST_ACK: u8 = 9;
    const CLOSING: u8 = 11;
    const NEW_SYN_RECV: u8 = 12;
    matches!(state, ESTABLISHED | SYN_RECV | FIN_WAIT1 | CLOSE_WAIT | LAST_ACK | CLOSING | NEW_SYN_RECV)
}

/// Counts in the text of `tcp` or `tcp6`.
fn connections(table: &str, ports: &BTreeSet<u16>) -> Result<u64, ProcProblem> {
    let unexpected = |line: &str| ProcProblem::Unexpected { file: "tcp", line: line.to_owned() };
    let mut lines = table.lines();
    match lines.next() {
        Some(header) if header.contains("local_address") => {}
        other => return Err(unexpected(other.unwrap_or("it is empty"))),
    }
    let mut count = 0;
    for line in lines {
        let (port, state) = socket(line).ok_or_else(|| unexpected(line))?;
        if owes(state) && ports.contains(&port) {
            count += 1;
        }
    }
    Ok(count)
}

/// Counts in the text of `tcp` and then that of `tcp6`, as `cat` prints them. Both must be there: the
/// clients of a listener for both families all stand in `tcp6`, so that `tcp` alone would say 0.
pub(super) fn in_both(text: &str, ports: &BTreeSet<u16>) -> Result<u64, ProcProblem> {
    let missing = |file| ProcProblem::Unexpected { file, line: "its table is missing".to_owned() };
    // The headers of the two differ in this word (kernel: `tcp4_seq_show`, `tcp6_seq_show`).
    let six = text.find("remote_address").ok_or_else(|| missing("tcp6"))?;
    let (tcp, tcp6) = text.split_at(text[..six].rfind('\n').ok_or_else(|| missing("tcp"))? + 1);
    Ok(connections(tcp, ports)? + connections(tcp6, ports)?)
}

/// Local port and state of one line: `0: 0100007F:1F90 0100007F:D2F0 01 ...`.
fn socket(line: &str) -> Option<(u16, u8)> {
    let mut fields = line.split_ascii_whitespace();
    let (_address, port) = fields.nth(1)?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    Some((u16::from_str_radix(port, 16).ok()?, u8::from_str_radix(state, 16).ok()?))
}

/// `PassiveOpens` in the text of `snmp`: a line of names and one of as many values, both starting with `Tcp:`.
fn passive_opens(text: &str) -> Result<u64, ProcProblem> {
    let mut tcp = text.lines().filter(|line| line.starts_with("Tcp:"));
    let value = tcp.next().zip(tcp.next()).and_then(|(names, values)| {
        let [names, values] = [names, values].map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        let place = names.iter().position(|name| *name == "PassiveOpens")?;
        // With a value too few, nobody knows whose they are, nor whether the last one is whole.
        values.get(place).filter(|_| values.len() == names.len())?.parse().ok()
    });
    value.ok_or_else(|| ProcProblem::Unexpected { file: "snmp", line: "no PassiveOpens".to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1060 1 0000000023423034 100 0 0 10 0                      
   1: 0200F40A:0050 0100F40A:A086 01 00000000:00000000 00:00000000 00000000     0        0 34512 1 00000000e65e72ed 20 4 1 42 -1                     
   2: 0200F40A:0050 0100F40A:A088 06 00000000:00000000 03:00000AAA 00000000     0        0 0 3 0000000000000000                                      
   3: 0200F40A:0050 0100F40A:A090 08 00000000:00000001 00:00000000 00000000     0        0 34513 1 00000000e65e72ee 20 4 1 42 -1                     
   4: 0200F40A:A086 0100F40A:0050 01 00000000:00000000 00:00000000 00000000     0        0 34514 1 00000000e65e72ef 20 4 1 42 -1                     
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 49023 1 000000009b3e2fd3 100 0 0 10 0
   1: 0000000000000000FFFF00000200F40A:1F90 0000000000000000FFFF00000100F40A:C53E 01 00000000:00000000 00:00000000 00000000     0        0 49025 1 00000000acd5a9ad 20 4 30 10 -1
   2: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:C540 04 00000000:00000000 00:00000000 00000000     0        0 49026 1 00000000acd5a9ae 20 4 30 10 -1
";
    const SNMP: &str = "\
Ip: Forwarding DefaultTTL InReceives
Ip: 1 64 22078
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors
Tcp: 1 200 120000 -1 88 42 0 60 3 22078 15492 1 0 72 0
Udp: InDatagrams NoPorts
Udp: 12 0
";

    fn ports(ports: &[u16]) -> BTreeSet<u16> {
        ports.iter().copied().collect()
    }

    #[test]
    fn connections_are_counted_by_local_port_and_neither_listeners_nor_finished_ones_are() {
        assert_eq!(connections(TCP, &ports(&[80])).unwrap(), 2);
        assert_eq!(connections(TCP, &ports(&[80, 41094])).unwrap(), 3);
        assert_eq!(connections(TCP, &ports(&[8080])).unwrap(), 0);
    }

    #[test]
    fn ipv6_and_ipv4_clients_of_an_ipv6_listener_count() {
        assert_eq!(connections(TCP6, &ports(&[8080])).unwrap(), 2);
    }

    #[test]
    fn every_state_that_may_owe_bytes_counts_and_no_other() {
        let owing: Vec<u8> = (0..=13).filter(|state| owes(*state)).collect();
        assert_eq!(owing, [1, 3, 4, 8, 9, 11, 12]);
    }

    #[test]
    fn a_table_that_is_empty_cut_off_or_something_else_is_an_error() {
        let cut = &TCP[..TCP.len() - 140];
        for table in ["", "hello\n", cut, "  sl  local_address\n   0: zz:yy\n"] {
            assert!(connections(table, &ports(&[80])).is_err(), "{table}");
        }
    }

    #[test]
    fn both_tables_one_after_the_other_count_together_and_one_alone_is_an_error() {
        assert_eq!(in_both(&format!("{TCP}{TCP6}"), &ports(&[80, 8080])).unwrap(), 4);
        for text in [TCP.to_owned(), TCP6.to_owned(), format!("{TCP6}{TCP}"), format!("{TCP}{TCP}{TCP6}")] {
            assert!(in_both(&text, &ports(&[80, 8080])).is_err(), "{text}");
        }
    }

    #[test]
    fn passive_opens_are_found_by_name() {
        assert_eq!(passive_opens(SNMP).unwrap(), 42);
        for text in [
            "",
            "Tcp: PassiveOpens\n",
            "Tcp: PassiveOpens\nTcp: x\n",
            "Tcp: Other\nTcp: 1\n",
            "Tcp: PassiveOpens Other\nTcp: 1\n",
            "Tcp: PassiveOpens\nTcp: 1 2\n",
        ] {
            assert!(passive_opens(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn passive_opens_are_read_as_they_were_written_among_whatever_others_and_a_part_says_nothing_else(
            opens in any::<u64>(), other in "Udp: [0-9 ]{0,9}\n|TcpExt: A\nTcpExt: 1\n|",
            before in prop::collection::vec(("[A-O][a-zA-Z]{0,8}", any::<i64>()), 0..6),
            after in prop::collection::vec(("[Q-Z][a-zA-Z]{0,8}", any::<i64>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let line = |name: &dyn Fn(&(String, i64)) -> String, own: &str| {
                let all: Vec<_> =
                    before.iter().map(name).chain([own.to_owned()]).chain(after.iter().map(name)).collect();
                format!("Tcp: {}\n", all.join(" "))
            };
            let names = line(&|(name, _)| name.clone(), "PassiveOpens");
            let values = line(&|(_, value)| value.to_string(), &opens.to_string());
            let text = format!("{other}{names}{values}{other}");
            prop_assert_eq!(passive_opens(&text).ok(), Some(opens));
            let part = passive_opens(&text[..cut.index(text.len())]).ok();
            prop_assert!(part.is_none_or(|part| part == opens), "{:?}", part);
        }

        #[test]
        fn any_text_is_a_count_or_an_error(
            text in "\\PC*|((Tcp:|PassiveOpens|local_address|remote_address|[0-9A-F]{0,5}:[0-9A-F]{0,5}|[0-9]{0,3})[ \n]){0,20}",
        ) {
            let counts = [passive_opens(&text).ok(), connections(&text, &ports(&[80])).ok(), in_both(&text, &ports(&[80])).ok()];
            let lines = text.lines().count() as u64;
            prop_assert!(counts[1..].iter().flatten().all(|count| *count < lines), "{:?}", counts);
        }
    }

    #[test]
    fn a_kernel_without_ipv6_is_no_error_and_one_without_tcp_is() {
        let folder = std::env::temp_dir().join(format!("proc-net-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let net = ProcNet::at(&folder);
        assert!(net.connections(&ports(&[80])).is_err());
        std::fs::write(folder.join("tcp"), TCP).unwrap();
        assert_eq!(net.connections(&ports(&[80])).unwrap(), 2);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
