//! `completion`: the script of a shell.

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::{Shell, generate};

use super::{Answer, Cli};

/// Options of `completion`.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Examples:
  source <(kubectl-lu completion bash)
  kubectl-lu completion zsh > \"${fpath[1]}/_kubectl-lu\"
  kubectl-lu completion fish > ~/.config/fish/completions/kubectl-lu.fish")]
pub struct CompletionArgs {
    /// The shell
    shell: Known,
}

/// The shells that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Known {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// The script, for the name that the program has as a file.
pub fn script(args: &CompletionArgs) -> Answer {
    let shell = match args.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    let mut text = Vec::new();
    let mut command = Cli::command().bin_name("kubectl-lu");
    generate(shell, &mut command, "kubectl-lu", &mut text);
    Answer::done(String::from_utf8_lossy(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_script_knows_each_subcommand() {
        for shell in [Known::Bash, Known::Zsh, Known::Fish] {
            let text = script(&CompletionArgs { shell }).text;
            for command in Cli::command().get_subcommands() {
                assert!(text.contains(command.get_name()), "{shell:?}: {}", command.get_name());
            }
        }
    }
}
