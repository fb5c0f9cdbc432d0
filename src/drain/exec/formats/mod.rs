//! What a command may print. One file a format, each a pure function from whole output to a count.

mod proc_net_tcp;
mod ss_lines;

use std::collections::BTreeSet;

use crate::drain::formats::{Why, number};
use crate::drain::proc_net::ProcProblem;
use crate::drain::spec::exec::ExecFormat;

/// Why what a command printed is not a count.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// Nothing came, and the format has no nothing.
    #[error("the command printed nothing")]
    Empty,
    /// Not UTF-8.
    #[error("what the command printed is not text")]
    NotText,
    /// The last line has no end.
    #[error("what the command printed is cut off in its last line")]
    CutOff,
    /// Not a number.
    #[error("what the command printed is not a count: {0}")]
    NotACount(#[from] Why),
    /// Not the kernel's tables.
    #[error("what the command printed is not /proc/net/tcp and /proc/net/tcp6: {0}")]
    NotTables(#[from] ProcProblem),
    /// A line that is not a connection.
    #[error(
        "line {0} of what the command printed is not a connection as `ss -Htn` prints it; leave out options that print more lines"
    )]
    NotAConnection(usize),
}

/// The count in what a command printed that ended with exit status 0 and complained about nothing.
///
/// # Errors
/// Why it is unknown.
pub fn parse(format: ExecFormat, stdout: &[u8], ports: &BTreeSet<u16>) -> Result<u64, Flaw> {
    let text = str::from_utf8(stdout).map_err(|_| Flaw::NotText)?;
    match format {
        ExecFormat::Number => Ok(number::parse(said(text)?)?),
        ExecFormat::ProcNetTcp => proc_net_tcp::parse(ended(said(text)?)?, ports),
        ExecFormat::SsLines => ss_lines::parse(ended(text)?),
    }
}

fn said(text: &str) -> Result<&str, Flaw> {
    if text.trim().is_empty() { Err(Flaw::Empty) } else { Ok(text) }
}

/// Text of whole lines; nothing at all is one.
fn ended(text: &str) -> Result<&str, Flaw> {
    if text.is_empty() || text.ends_with('\n') { Ok(text) } else { Err(Flaw::CutOff) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMATS: [ExecFormat; 3] = [ExecFormat::Number, ExecFormat::ProcNetTcp, ExecFormat::SsLines];

    fn ports() -> BTreeSet<u16> {
        BTreeSet::from([80])
    }

    #[test]
    fn nothing_at_all_is_0_for_ss_alone() {
        for format in FORMATS {
            let count = parse(format, b"", &ports());
            assert_eq!(count.ok(), (format == ExecFormat::SsLines).then_some(0), "{format:?}");
            assert!(parse(format, b"\n", &ports()).is_err(), "{format:?}");
            assert!(parse(format, b"\xff\n", &ports()).is_err(), "{format:?}");
        }
    }

    #[test]
    fn a_number_may_lack_the_end_of_its_line() {
        for text in ["7", "7\n", " 7 \n"] {
            assert_eq!(parse(ExecFormat::Number, text.as_bytes(), &ports()).ok(), Some(7), "{text:?}");
        }
        let why = parse(ExecFormat::Number, b"7 connections", &ports()).unwrap_err();
        assert!(matches!(why, Flaw::NotACount(Why::NotANumber)), "{why}");
    }

    proptest! {
        #[test]
        fn whatever_is_printed_is_0_only_where_it_says_so(text in "\\PC*|[0-9eE.+-]{0,9}|(.*\n){0,4}") {
            for format in FORMATS {
                let zero = parse(format, text.as_bytes(), &ports()).is_ok_and(|count| count == 0);
                let says_so = match format {
                    ExecFormat::Number => text.contains('0'),
                    ExecFormat::ProcNetTcp => text.contains("local_address"),
                    ExecFormat::SsLines => text.is_empty(),
                };
                prop_assert!(!zero || says_so, "{:?}: {:?}", format, text);
            }
        }

        #[test]
        fn a_number_is_read_as_it_was_printed(number in 0..1_000_000_u64) {
            let count = parse(ExecFormat::Number, format!("{number}\n").as_bytes(), &ports());
            prop_assert_eq!(count.ok(), Some(number));
        }
    }
}
