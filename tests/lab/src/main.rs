//! The lab on the command line.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use lab::{
    cluster::Cluster,
    demo::{self, Program, Verdict},
    progress::Progress,
    sandbox::{Need, enter},
};

/// A real Kubernetes in a sandbox on this machine. Nothing is left of it when it ends.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds and caches everything, and ends
    Build,
    /// Upgrades a real nginx three ways under the same load, and compares what they lose
    Demo {
        /// What to play
        #[arg(value_enum, default_value_t = Program::Whole)]
        program: Program,
    },
    /// Starts the cluster and runs a shell, or the given command, in it
    Shell {
        /// Make the operator's image available too
        #[arg(long)]
        operator: bool,
        /// The command and its arguments
        #[arg(last = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Build => {
            enter(Need::Helm)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Demo { program } => {
            let inside = enter(program.need())?;
            let runtime = tokio::runtime::Runtime::new()?;
            Ok(match runtime.block_on(demo::run(&inside, &Progress::new(), program))? {
                Verdict::Proven => ExitCode::SUCCESS,
                Verdict::Lost | Verdict::Blind => ExitCode::FAILURE,
                // As a shell has it for a program that a Ctrl-C ended.
                Verdict::Interrupted => ExitCode::from(130),
            })
        }
        Task::Shell { operator, command } => {
            let inside = enter(if operator { Need::Operator } else { Need::Cluster })?;
            let runtime = tokio::runtime::Runtime::new()?;
            let cluster = runtime.block_on(Cluster::start(&inside, &Progress::new()))?;
            let (program, args) =
                command.split_first().map_or(("bash", &[][..]), |(first, rest)| (first, rest));
            let status = cluster.command(program).args(args).status().with_context(|| program.to_owned())?;
            runtime.block_on(cluster.stop());
            Ok(status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .map_or(ExitCode::FAILURE, ExitCode::from))
        }
    }
}
