//! `completion`: the script of a shell, and what kubectl itself asks for.

use clap::{Args, Command, CommandFactory as _, ValueEnum};
use clap_complete::{Shell, generate};
use kube::ResourceExt;

use super::fetch::Cluster;
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

/// What stands on the command line after `kubectl lu`, the word that is completed last.
#[derive(Clone, Debug, Args)]
pub struct WordsArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// kubectl's way to say that file names are no answer.
const NO_FILES: &str = ":4\n";

/// The answers to kubectl, which runs `kubectl_complete-lu` for the words after `kubectl lu`.
pub async fn words(cluster: &Cluster, args: &WordsArgs) -> Answer {
    let (last, before) =
        args.words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut root = Cli::command();
    root.build();
    let (command, namespace) = place(&root, before);
    let mut found = candidates(command, last);
    if command.get_name() != root.get_name()
        && command.get_positionals().next().is_some()
        && !last.starts_with('-')
    {
        let namespace = namespace.unwrap_or_else(|| cluster.namespace.clone());
        let there = Cluster { namespace, ..cluster.clone() }.raw(false).await.unwrap_or_default();
        found.extend(there.iter().map(ResourceExt::name_any).filter(|name| name.starts_with(last)));
    }
    found.push(NO_FILES.to_owned());
    Answer::done(found.join("\n"))
}

/// The subcommand that the words have come to, and the namespace that they name.
fn place<'a>(root: &'a Command, words: &[String]) -> (&'a Command, Option<String>) {
    let mut at = root;
    let mut namespace = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-n" | "--namespace" => namespace = words.next().cloned(),
            "--context" | "--kubeconfig" => drop(words.next()),
            word => at = at.find_subcommand(word).unwrap_or(at),
        }
    }
    (at, namespace)
}

/// Subcommands or flags, each with what it is for.
fn candidates(command: &Command, last: &str) -> Vec<String> {
    let told = |name: &str, help: Option<String>| format!("{name}\t{}", help.unwrap_or_default());
    let flags = command.get_arguments().filter_map(|arg| {
        let name = format!("--{}", arg.get_long()?);
        Some((name, arg.get_help().map(ToString::to_string)))
    });
    let subcommands = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let subcommands =
        subcommands.map(|sub| (sub.get_name().to_owned(), sub.get_about().map(ToString::to_string)));
    let all: Vec<_> = if last.starts_with('-') { flags.collect() } else { subcommands.collect() };
    all.into_iter().filter(|(name, _)| name.starts_with(last)).map(|(name, help)| told(&name, help)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_and_flags_are_completed_where_they_stand() {
        let mut root = Cli::command();
        root.build();
        let of = |words: &[&str], last: &str| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let (command, namespace) = place(&root, &words);
            let found = candidates(command, last);
            let names = found.iter().filter_map(|one| one.split('\t').next().map(str::to_owned));
            (names.collect::<Vec<_>>(), namespace)
        };
        assert_eq!(of(&[], "re").0, ["resume", "retry"]);
        assert_eq!(of(&["-n", "status", "wait"], "--t"), (vec!["--timeout".into()], Some("status".into())));
        assert!(of(&["status"], "--").0.contains(&"--namespace".to_owned()));
        assert!(of(&["status"], "").0.is_empty(), "the names of objects come from the cluster");
    }

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
