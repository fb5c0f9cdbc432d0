//! `kubectl lu`: see an upgrade, steer it, and be warned before it.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use lossless_upgrade::cli::code::{CliError, Code};
use lossless_upgrade::cli::completion;
use lossless_upgrade::cli::fetch::Cluster;
use lossless_upgrade::cli::status::screen;
use lossless_upgrade::cli::text::Paint;
use lossless_upgrade::cli::{self, Answer, Cli, Command};
use lossless_upgrade::runtime::client;
use lossless_upgrade::runtime::clock::Clock;
use lossless_upgrade::runtime::config::no_colour;
use lossless_upgrade::runtime::telemetry::with_causes;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let answer = match cli.command {
        Command::Completion(args) => Ok(completion::script(&args)),
        _ => answer(cli),
    };
    match answer {
        // Not by println: a closed pipe must not become a panic.
        Ok(Answer { text, code }) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => code.into(),
            Err(_) => Code::Trouble.into(),
        },
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "kubectl lu: {error:#}");
            Code::Trouble.into()
        }
    }
}

/// One thread: it waits for answers most of the time.
fn answer(cli: Cli) -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let client = client::for_user(cli.place.kubeconfig.as_deref(), cli.place.context.clone()).await?;
        let namespace = cli.place.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let cluster = Cluster { client, namespace, clock: Clock::system() };
        let screen = screen::size();
        let paint = Paint { colour: screen.is_some() && !no_colour(), screen };
        let answer = cli::run(cli.command, &cluster, paint).await;
        answer.map_err(|error: CliError| anyhow::Error::msg(with_causes(&error)))
    });
    // A name that is still looked up must not keep the process alive.
    runtime.shutdown_background();
    answer
}
