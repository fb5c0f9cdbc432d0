//! What `cat /proc/net/tcp /proc/net/tcp6` prints.

use std::collections::BTreeSet;

use super::Flaw;
use crate::drain::proc_net::in_both;

/// The connections to these ports that may owe bytes, in both tables.
pub(super) fn parse(text: &str, ports: &BTreeSet<u16>) -> Result<u64, Flaw> {
    Ok(in_both(text, ports)?)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use crate::drain::exec::formats::parse;
    use crate::drain::spec::exec::ExecFormat;

    /// Both tables with a socket for each port and state.
    fn tables(four: &[(u16, u8)], six: &[(u16, u8)]) -> String {
        let mut text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n".to_owned();
        let rest =
            "00000000:00000000 00:00000000 00000000     0        0 34512 1 0000000000000000 20 4 1 42 -1";
        for (number, (port, state)) in four.iter().enumerate() {
            writeln!(text, "{number:4}: 0200F40A:{port:04X} 0100F40A:A086 {state:02X} {rest}").unwrap();
        }
        text += "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        for (number, (port, state)) in six.iter().enumerate() {
            let address = "0000000000000000FFFF00000200F40A";
            writeln!(text, "{number:4}: {address}:{port:04X} {address}:C53E {state:02X} {rest}").unwrap();
        }
        text
    }

    fn sockets() -> impl Strategy<Value = Vec<(u16, u8)>> {
        proptest::collection::vec((79..82_u16, 1..13_u8), 0..6)
    }

    proptest! {
        #[test]
        fn each_socket_that_may_owe_bytes_counts_and_a_part_never_counts_as_the_whole(
            four in sockets(), six in sockets(), cut in any::<prop::sample::Index>(),
        ) {
            let ports = [80].into();
            let owes = |(port, state): &&(u16, u8)| {
                *port == 80 && matches!(*state, 1 | 3 | 4 | 8 | 9 | 11 | 12)
            };
            let expected = four.iter().chain(&six).filter(owes).count() as u64;
            let text = tables(&four, &six);
            let count = |text: &str| parse(ExecFormat::ProcNetTcp, text.as_bytes(), &ports).ok();
            prop_assert_eq!(count(&text), Some(expected));
            let part = &text[..cut.index(text.len())];
            prop_assert!(part.ends_with('\n') || count(part).is_none(), "{}", part);
            prop_assert!(part.contains("remote_address") || count(part).is_none(), "{}", part);
        }
    }
}
