//! The live view on a real terminal, which is tmux.

use std::process::Command;
use std::time::Duration;

use super::fake_cluster::FakeCluster;
use super::program::{at, until};

const LIMIT: Duration = Duration::from_secs(30);

/// A terminal of 80 columns and 24 lines with a shell in it.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// None where there is no tmux; in CI there has to be one.
    #[expect(clippy::disallowed_methods, reason = "CI says so in its environment")]
    fn open(name: &str) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            let ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!ci, "tmux is not there, and in CI nothing is skipped");
            println!("SKIPPED: the live view is tested in tmux, which is not there");
            return None;
        }
        let terminal = Self { socket: format!("lu-{name}-{}", std::process::id()) };
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "env PS1='> ' sh"]);
        until(LIMIT, || terminal.screen().contains('>'), || terminal.screen());
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = Command::new("tmux").args(["-L", &self.socket]).args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn types(&self, text: &str) {
        self.tmux(&["send-keys", text, "Enter"]);
    }

    #[track_caller]
    fn shows(&self, text: &str) -> String {
        until(LIMIT, || self.screen().contains(text), || format!("{text:?} in\n{}", self.screen()));
        self.screen()
    }

    fn flag(&self, name: &str) -> String {
        self.tmux(&["display-message", "-p", &format!("#{{{name}}}")]).trim().to_owned()
    }

    /// The cursor is there, and no other screen.
    #[track_caller]
    fn is_clean(&self) {
        assert_eq!(self.flag("cursor_flag"), "1", "the cursor is hidden");
        assert_eq!(self.flag("alternate_on"), "0", "another screen is left open");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

fn command(cluster: &FakeCluster, rest: &str) -> String {
    let program = env!("CARGO_BIN_EXE_kubectl-lu");
    format!(
        "clear; {program} --kubeconfig {} status web -w {rest}; echo code $?",
        cluster.kubeconfig.display()
    )
}

#[test]
fn the_live_view_is_drawn_in_place_and_leaves_the_terminal_clean() {
    let Some(terminal) = Terminal::open("live") else { return };
    let cluster = FakeCluster::start("live", &at("Drain"));
    terminal.types(&command(&cluster, ""));
    terminal.shows("draining");
    let shown = terminal.shows("Detached");
    for part in ["shop/web", "[====", "1/3", "left", "RESTARTS", "web-3", "surge", "Detached"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    assert_eq!(terminal.flag("cursor_flag"), "0", "the cursor would blink in the view");
    assert!(terminal.tmux(&["capture-pane", "-p", "-e"]).contains("\u{1b}[33m"), "no colours");

    println!("{shown}");
    cluster.put(&at("Soak"));
    let shown = terminal.shows("soaking");
    assert!(!shown.contains("draining"), "something of before is left:\n{shown}");
    // Also what has scrolled away.
    let all = terminal.tmux(&["capture-pane", "-p", "-S", "-"]);
    assert_eq!(all.matches("RESTARTS").count(), 1, "drawn below itself:\n{all}");

    // A narrow terminal must not make lines wrap, as they would be drawn below themselves then.
    terminal.tmux(&["resize-window", "-x", "60", "-y", "16"]);
    cluster.put(&at("Drain"));
    let shown = terminal.shows("Draining: web-1");
    assert_eq!(shown.matches("RESTARTS").count(), 1, "drawn below itself:\n{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 60), "{shown}");
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    terminal.shows("web-3");

    terminal.tmux(&["send-keys", "C-c"]);
    let shown = terminal.shows("code 130");
    assert!(shown.contains("web-1"), "what was shown last is gone:\n{shown}");
    terminal.is_clean();
    cluster.was_understood();
}

#[test]
fn the_live_view_ends_with_the_run_or_with_the_time() {
    let Some(terminal) = Terminal::open("end") else { return };
    let cluster = FakeCluster::start("end", &at("Drain"));
    terminal.types(&command(&cluster, "--timeout 2s"));
    let shown = terminal.shows("code 3");
    assert!(shown.contains("not over after 2s"), "{shown}");
    terminal.is_clean();

    terminal.types(&command(&cluster, ""));
    terminal.shows("draining");
    cluster.put(&at("Succeeded"));
    let shown = terminal.shows("code 0");
    assert!(shown.contains("Succeeded"), "{shown}");
    terminal.is_clean();

    cluster.put(&at("RolledBack"));
    terminal.types(&command(&cluster, ""));
    terminal.shows("code 1");
    terminal.is_clean();
}

#[test]
fn nobody_gets_colours_who_does_not_want_them() {
    let Some(terminal) = Terminal::open("plain") else { return };
    let cluster = FakeCluster::start("plain", &at("Drain"));
    terminal.types(&format!("export NO_COLOR=1; {}", command(&cluster, "--timeout 3s")));
    terminal.shows("draining");
    let raw = terminal.tmux(&["capture-pane", "-p", "-e"]);
    assert!(!raw.contains("\u{1b}[3"), "{raw:?}");
    terminal.shows("code 3");
}
