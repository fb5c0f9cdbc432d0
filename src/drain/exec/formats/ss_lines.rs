//! One connection a line, as `ss -Htn` of iproute2 prints them:
//! `ESTAB 0 0 10.0.0.1:80 10.0.0.2:41094`. With one state asked for, the first word is left out. Which
//! connections are printed, the filter of the command says.

use super::Flaw;

/// The lines. Each must be a connection: a complaint or a header would make the rest doubtful.
pub(super) fn parse(text: &str) -> Result<u64, Flaw> {
    let mut count = 0;
    for (number, line) in text.lines().enumerate() {
        if !is_connection(line) {
            return Err(Flaw::NotAConnection(number + 1));
        }
        count += 1;
    }
    Ok(count)
}

/// Two lengths of queues and two addresses, after a state or none.
fn is_connection(line: &str) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_number = |field: &str| field.bytes().all(|byte| byte.is_ascii_digit());
    let fields = match fields.split_first() {
        Some((state, rest)) if !is_number(state) => rest,
        Some(_) | None => fields.as_slice(),
    };
    match fields {
        [received, sent, local, peer, ..] => {
            is_number(received) && is_number(sent) && local.contains(':') && peer.contains(':')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    const LINES: &str = "\
ESTAB      0      0      10.244.0.2:80   10.244.0.1:41094
CLOSE-WAIT 1      0      [::ffff:10.244.0.2]:8080   [::ffff:10.244.0.1]:50494 users:((\"web\",pid=1,fd=9))
0      36     127.0.0.1%lo:80   127.0.0.1:41098
";

    #[test]
    fn each_line_is_a_connection_with_its_state_or_without() {
        assert_eq!(parse(LINES).unwrap(), 3);
    }

    #[test]
    fn a_header_a_complaint_a_blank_line_and_a_second_line_of_a_connection_are_no_connections() {
        for (line, at) in [
            ("State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n", 4),
            ("sh: ss: not found\n", 4),
            ("\n", 4),
            ("\t cubic wscale:7,7 rto:204 rtt:0.04/0.02\n", 4),
        ] {
            let why = parse(&format!("{LINES}{line}")).unwrap_err();
            assert!(matches!(why, Flaw::NotAConnection(number) if number == at), "{line}: {why}");
        }
    }

    proptest! {
        #[test]
        fn so_many_lines_are_so_many_connections(
            lines in proptest::collection::vec((0..9999_u32, any::<u16>(), any::<bool>()), 0..20),
        ) {
            let mut text = String::new();
            for (queue, port, state) in &lines {
                let state = if *state { "FIN-WAIT-1 " } else { "" };
                writeln!(text, "{state}{queue} 0 10.0.0.1:80 [fd00::1]:{port}").unwrap();
            }
            prop_assert_eq!(parse(&text).ok(), Some(lines.len() as u64));
        }
    }
}
