//! The program `drain-counter`: runs in an ephemeral container, in the network namespace of a pod, and
//! reports the pod's connections on its standard output. It writes no file and opens no socket but the one
//! that asks the kernel.
//!
//! It looks up to twenty times a second, at least once a period, and reports the most that it saw,
//! because connections of one request live for milliseconds. The growth of the kernel's `PassiveOpens`
//! shows those that no look met. Once a period it asks the kernel how long each connection has been silent.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::line::{Line, Report};
use super::proc_net::{ProcNet, ProcProblem};
use super::sock_diag;
use crate::workflow::span::Span;

/// Least time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// From the begin of a look to the next one pass so many times its length: the kernel walks the table
/// of the whole machine for it, which costs milliseconds where that is large, and a drain must not take
/// the processor from those who still serve. What fewer looks miss still shows as opened.
const PAUSE: u32 = 20;

/// Arguments of `drain-counter`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct CounterArgs {
    /// Local ports to count connections of.
    #[arg(long, value_delimiter = ',', required = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub ports: Vec<u16>,
    /// Time between two reports.
    #[arg(long, default_value = "1s")]
    pub period: Span,
    /// End after this time, for the case that nobody ends it.
    #[arg(long, default_value = "2h")]
    pub life: Span,
}

/// Runs until SIGTERM, SIGINT or the end of its life. As the first process of its container it must
/// handle the signals itself: the kernel gives such a process no default for them.
pub async fn main(args: CounterArgs) -> ExitCode {
    let stop = async {
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                Ok(())
            }
            (Err(problem), _) | (_, Err(problem)) => Err(problem),
        }
    };
    match run(&args, &ProcNet::default(), &mut io::stdout(), stop).await {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody can be told when the output itself is gone, so this is on a best-effort basis.
        Err(problem) => {
            let _ = writeln!(io::stderr(), "drain-counter: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Looks and reports until `stop` or the end of its life.
///
/// # Errors
/// The report cannot be written, or `stop` failed. A failed look is reported, it ends nothing.
pub async fn run(
    args: &CounterArgs,
    net: &ProcNet,
    out: &mut (impl Write + Send),
    stop: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let ports = args.ports.iter().copied().collect();
    let mut due = Instant::now();
    let life = tokio::time::sleep(args.life.duration());
    tokio::pin!(stop, life);
    let mut tally = Tally::new(net);
    for seq in 1.. {
        let report = loop {
            tokio::select! {
                biased;
                stopped = &mut stop => return stopped,
                () = &mut life => return Ok(()),
                () = sleep_until(due) => {
                    let begin = Instant::now();
                    tally.look(net, &ports);
                    due = begin + pause(begin.elapsed(), args.period.duration());
                }
            }
            if tally.since.elapsed() >= args.period.duration() {
                // The report asks the kernel about every connection, so a pause follows it as well.
                let begin = Instant::now();
                let report = tally.report(net, &ports);
                due = due.max(begin + pause(begin.elapsed(), args.period.duration()));
                break report;
            }
        };
        writeln!(out, "{}", Line { seq, report })?;
        out.flush()?;
    }
    Ok(())
}

/// From the begin of a look that took so long to the next one: at least one a report.
fn pause(took: Duration, period: Duration) -> Duration {
    (took * PAUSE).max(LOOK).min(period)
}

/// What was seen since the last report.
struct Tally {
    since: Instant,
    max: u64,
    /// `PassiveOpens` at the last report.
    opens: Result<u64, ProcProblem>,
    failed: Option<ProcProblem>,
}

impl Tally {
    fn new(net: &ProcNet) -> Self {
        Self { since: Instant::now(), max: 0, opens: net.passive_opens(), failed: None }
    }

    fn look(&mut self, net: &ProcNet, ports: &BTreeSet<u16>) {
        match net.connections(ports) {
            Ok(count) => self.max = self.max.max(count),
            Err(problem) => self.failed = Some(problem),
        }
    }

    /// Reports and starts anew.
    fn report(&mut self, net: &ProcNet, ports: &BTreeSet<u16>) -> Report {
        let Self { since, max, opens, failed } = std::mem::replace(self, Self::new(net));
        let ms = u64::try_from((self.since - since).as_millis()).unwrap_or(u64::MAX).max(1);
        let why = match (failed, opens, &self.opens) {
            (None, Ok(before), Ok(after)) => match after.checked_sub(before) {
                // A kernel that does not tell keeps nobody from counting.
                Some(opened) => {
                    return Report::Seen { max, opened, ms, silent: sock_diag::silence(ports).ok() };
                }
                None => "the kernel's PassiveOpens went backwards".to_owned(),
            },
            (Some(problem), _, _) | (None, Err(problem), _) => problem.to_string(),
            (None, Ok(_), Err(problem)) => problem.to_string(),
        };
        Report::Failed { why }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn args(port: u16, period: &str, life: &str) -> CounterArgs {
        CounterArgs { ports: vec![port], period: period.parse().unwrap(), life: life.parse().unwrap() }
    }

    fn lines(out: &[u8]) -> Vec<Line> {
        String::from_utf8(out.to_vec()).unwrap().lines().map(|line| line.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn it_sees_real_connections_while_they_are_open_and_their_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open: Vec<_> = (0..3)
            .map(|_| (TcpStream::connect(("127.0.0.1", port)).unwrap(), listener.accept().unwrap()))
            .collect();
        let mut out = Vec::new();
        run(&args(port, "100ms", "350ms"), &ProcNet::default(), &mut out, std::future::pending())
            .await
            .unwrap();
        let seen = lines(&out);
        assert!(seen.len() >= 2, "{seen:?}");
        assert!(seen.iter().zip(1..).all(|(line, seq)| line.seq == seq), "{seen:?}");
        let sees_all = |line: &Line| match &line.report {
            Report::Seen { max: 3, silent: Some(silent), .. } => silent.at_least(Duration::ZERO) == 3,
            Report::Seen { .. } | Report::Failed { .. } => false,
        };
        assert!(seen.iter().all(sees_all), "{seen:?}");

        for (client, (server, _)) in open {
            drop(client);
            drop(server);
        }
        let mut out = Vec::new();
        run(&args(port, "100ms", "150ms"), &ProcNet::default(), &mut out, std::future::pending())
            .await
            .unwrap();
        assert!(matches!(lines(&out)[0].report, Report::Seen { max: 0, .. }), "{out:?}");
    }

    #[test]
    fn connections_too_short_for_any_look_show_as_opened() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let net = ProcNet::default();
        let mut tally = Tally::new(&net);
        for _ in 0..20 {
            let client = TcpStream::connect(address).unwrap();
            drop((listener.accept().unwrap(), client));
        }
        let report = tally.report(&net, &BTreeSet::from([address.port()]));
        assert!(matches!(report, Report::Seen { opened: 20.., max: 0, .. }), "{report:?}");
    }

    #[tokio::test]
    async fn a_look_that_fails_makes_the_whole_period_a_failure_and_it_goes_on() {
        let mut out = Vec::new();
        let nowhere = ProcNet::at("/proc/net/nowhere");
        run(&args(80, "60ms", "400ms"), &nowhere, &mut out, std::future::pending()).await.unwrap();
        let seen = lines(&out);
        assert!(seen.len() >= 2, "{seen:?}");
        assert!(seen.iter().all(|line| matches!(line.report, Report::Failed { .. })), "{seen:?}");
    }

    #[test]
    fn a_look_that_costs_much_is_followed_by_a_longer_pause_but_each_report_has_one() {
        let pause = |ms| pause(Duration::from_millis(ms), Duration::from_secs(1)).as_millis();
        assert_eq!([pause(0), pause(2), pause(10), pause(80)], [50, 50, 200, 1000]);
    }

    #[tokio::test]
    async fn it_ends_at_once_when_told_to() {
        let mut out = Vec::new();
        run(&args(80, "1h", "2h"), &ProcNet::default(), &mut out, std::future::ready(Ok(()))).await.unwrap();
        assert!(out.is_empty());
    }
}
