//! Programs that the lab starts: those that run as long as it does, and those that do one thing and end.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use crate::{
    error::{AtPath, LabError},
    paths,
};

/// How many of a log's last lines an error shows.
const TAIL_LINES: usize = 15;

/// How long a component may take to end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The memory of a process, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All that it really has.
    pub resident: u64,
    /// What it has made itself: without the pages of its program.
    pub anonymous: u64,
}

impl Memory {
    /// Out of `/proc/PID/status`.
    fn read(status: &str) -> Option<Self> {
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Self { resident: kib("VmRSS:")?, anonymous: kib("RssAnon:")? })
    }
}

/// A running component: started once, known by the id recorded then, killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts a program whose output goes to `<name>.log` among the lab's logs, after what is there already: one that
    /// is started again goes on in the same log.
    ///
    /// It gets a process group of its own, so that Ctrl-C on the terminal reaches only the lab.
    ///
    /// # Errors
    /// When the log cannot be made or the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self, LabError> {
        let log = paths::logs().join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).at(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().at(&log)?)
            .stderr(file)
            .env("PATH", paths::search_path())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| LabError::Spawn { program: name.to_owned(), source })?;
        Ok(Self { name: name.to_owned(), log, child })
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id, unless it has been found to have ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its memory; none: it has ended.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        Memory::read(&fs::read_to_string(format!("/proc/{}/status", self.id()?)).ok()?)
    }

    /// Asks whether it still runs.
    ///
    /// # Errors
    /// [`LabError::Ended`] with the end of its log when it does not.
    pub fn check(&mut self) -> Result<(), LabError> {
        match self.child.try_wait().at(&self.log)? {
            None => Ok(()),
            Some(status) => Err(LabError::Ended {
                name: self.name.clone(),
                status,
                log: self.log.clone(),
                tail: tail(&self.log),
            }),
        }
    }

    /// Ends it: SIGTERM to the recorded id, SIGKILL after 5 s.
    pub async fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let _ = tokio::time::timeout(STOP_LIMIT, self.child.wait()).await;
    }

    /// Ends it by SIGKILL, without a chance to tidy up.
    pub async fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill().await;
    }

    /// Stops it where it is: it keeps its connections and answers nobody, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on as if no time had passed.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, what: Signal) {
        if let Some(id) = self.child.id() {
            signal(id, what);
        }
    }
}

/// Sends a signal to a recorded id; an error means that the process has ended already.
pub(crate) fn signal(id: u32, what: Signal) {
    let _ = kill(Pid::from_raw(id.cast_signed()), what);
}

/// The last lines of a log.
#[must_use]
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&text))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Runs a program to its end and returns what it wrote to standard output.
///
/// # Errors
/// When it cannot be started, or ends with another status than 0: then with the last lines of what it wrote.
pub async fn run(command: &mut Command) -> Result<String, LabError> {
    let shown = shown(command);
    let output = command
        .stdin(Stdio::null())
        .env("PATH", paths::search_path())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| LabError::Spawn { program: shown.clone(), source })?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let all = stdout + &String::from_utf8_lossy(&output.stderr);
    Err(LabError::Command { command: shown, status: output.status, output: last_lines(&all) })
}

/// Runs a program to its end, and gives each line of its standard error to `on_line` as it comes.
///
/// # Errors
/// As [`run`].
pub async fn run_watched(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<String, LabError> {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

    let shown = shown(command);
    let failed = |source| LabError::Spawn { program: shown.clone(), source };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("PATH", paths::search_path())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take().map(|pipe| BufReader::new(pipe).lines());
    let mut written = String::new();
    let mut said = Vec::new();
    let read_output = async {
        match &mut stdout {
            Some(pipe) => pipe.read_to_string(&mut written).await.map(drop),
            None => Ok(()),
        }
    };
    let read_errors = async {
        while let Some(lines) = &mut stderr
            && let Some(line) = lines.next_line().await?
        {
            on_line(&line);
            said.push(line);
        }
        Ok(())
    };
    tokio::try_join!(read_output, read_errors).map_err(failed)?;
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        Ok(written)
    } else {
        Err(LabError::Command { command: shown, status, output: last_lines(&said.join("\n")) })
    }
}

fn shown(command: &Command) -> String {
    let command = command.as_std();
    let words: Vec<_> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_fails_is_reported_with_its_command_and_its_last_words() {
        let error = run(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("sh -c") && text.contains("exit status: 3") && text.contains("broken"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn lines_come_one_by_one_and_the_output_is_kept() {
        let mut lines = Vec::new();
        let script = "echo one >&2; echo two >&2; echo out";
        let output = run_watched(Command::new("sh").args(["-c", script]), |line| lines.push(line.to_owned()))
            .await
            .unwrap();
        assert_eq!((lines.join(" ").as_str(), output.as_str()), ("one two", "out\n"));
    }

    #[tokio::test]
    async fn a_frozen_process_does_nothing_until_it_is_thawed() {
        let folder = std::env::temp_dir().join(format!("lab-freeze-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (log, marks) = (folder.join("log"), folder.join("marks"));
        let script = format!("while :; do echo x >> {}; sleep 0.01; done", marks.display());
        let child =
            Command::new("sh").args(["-c", &script]).process_group(0).kill_on_drop(true).spawn().unwrap();
        let mut process = Process { name: "marks".to_owned(), log, child };
        let size = || fs::metadata(&marks).map_or(0, |found| found.len());
        let grows = async |from: u64| {
            let grown = async {
                while size() <= from {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(1), grown).await.is_ok()
        };
        assert!(grows(0).await, "it begins");
        process.freeze();
        // The signal is taken at once, but what was under way may still be written.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!grows(size()).await, "it goes on although it is frozen");
        let frozen = size();
        process.thaw();
        assert!(grows(frozen).await, "it does not go on");
        process.kill().await;
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn memory_is_read_by_its_names() {
        let status =
            "Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t   14336 kB\nRssAnon:\t    4096 kB\nRssFile:\t 9 kB\n";
        assert_eq!(Memory::read(status), Some(Memory { resident: 14_336, anonymous: 4_096 }));
        assert_eq!(Memory::read("Name:\tx\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn only_the_last_lines_of_a_long_log_are_shown() {
        let text: Vec<_> = (1..=40).map(|n| n.to_string()).collect();
        let shown = last_lines(&text.join("\n"));
        assert!(shown.starts_with("26\n") && shown.ends_with("\n40"), "{shown}");
    }
}
