//! The live view on a terminal: a grid of pods, what the operator says, how far it is, what was lost.

use std::{
    io::{self, Stdout},
    time::Duration,
};

use crossterm::{
    cursor, execute,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen},
};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use ratatui::{
    Frame,
    backend::CrosstermBackend,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize as _},
    text::{Line, Span},
    widgets::{Block, Borders, Gauge, Paragraph, Row, Table, Wrap},
};

use super::{
    scene::{Cell, Life, Scene, Traffic},
    table::{self, Ended},
};
use crate::oracle::Kind;

/// Width and height of a pod's box.
const BOX: (u16, u16) = (20, 5);
/// Lines for what the operator says.
const MESSAGE: u16 = 3;

pub(super) struct Terminal {
    screen: ratatui::Terminal<CrosstermBackend<Stdout>>,
    /// As the terminal was before.
    settings: Option<Termios>,
    /// The table of the acts that have ended.
    before: String,
}

impl Terminal {
    /// Takes the terminal. Keys are not shown on it, but Ctrl-C still is a signal.
    pub(super) fn open(before: &[Ended]) -> io::Result<Self> {
        let settings = tcgetattr(io::stdout()).ok();
        if let Some(settings) = &settings {
            let mut silent = settings.clone();
            silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON);
            tcsetattr(io::stdout(), SetArg::TCSANOW, &silent)?;
        }
        let screen = ratatui::Terminal::new(CrosstermBackend::new(io::stdout()));
        let before = if before.is_empty() { String::new() } else { table::render(before) };
        // From here on dropping it puts everything back.
        let terminal = Self { screen: screen?, settings, before };
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(terminal)
    }

    pub(super) fn draw(&mut self, scene: &Scene) -> io::Result<()> {
        let before = &self.before;
        self.screen.draw(|frame| draw(frame, scene, before))?;
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _restored = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
        if let Some(settings) = &self.settings {
            let _restored = tcsetattr(io::stdout(), SetArg::TCSAFLUSH, settings);
        }
    }
}

fn draw(frame: &mut Frame, scene: &Scene, before: &str) {
    let area = frame.area();
    let columns = (area.width / BOX.0).max(1);
    let count = u16::try_from(scene.pods.len()).unwrap_or(u16::MAX);
    let grid_height = count.div_ceil(columns).max(1) * BOX.1;
    let [title, grid, message, gauge, load, rest] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(grid_height),
        Constraint::Length(MESSAGE + 1),
        Constraint::Length(2),
        Constraint::Length(6),
        Constraint::Min(0),
    ])
    .areas(area);
    let elapsed = format!("  {}", clock(scene.elapsed));
    frame.render_widget(Line::from(vec![scene.act.title().bold(), Span::raw(elapsed)]), title);
    draw_pods(frame, grid, &scene.pods, columns);
    draw_message(frame, message, scene);
    draw_gauge(frame, gauge, scene);
    draw_load(frame, load, scene);
    frame.render_widget(Paragraph::new(before).dim(), rest);
}

/// The whole sentence where it fits; else its beginning, visibly cut.
fn draw_message(frame: &mut Frame, area: Rect, scene: &Scene) {
    let phase = if scene.phase.is_empty() { "waiting for the operator" } else { &scene.phase };
    let block = Block::new().borders(Borders::TOP).title(Line::from(format!(" {phase} ")).bold());
    let text = cut(&scene.message, usize::from(area.width), usize::from(MESSAGE));
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }).block(block), area);
}

/// As much of the text as surely fits into the lines, each of which may end early for a long word.
fn cut(text: &str, width: usize, lines: usize) -> String {
    let longest = text.split(' ').map(|word| word.chars().count()).max().unwrap_or_default();
    let room = width + (lines - 1) * width.saturating_sub(longest);
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

fn clock(time: Duration) -> String {
    format!("{:02}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

fn draw_pods(frame: &mut Frame, area: Rect, pods: &[Cell], columns: u16) {
    let mut row = area;
    row.height = BOX.1.min(area.height);
    for pods in pods.chunks(usize::from(columns)) {
        if row.bottom() > area.bottom() {
            return;
        }
        let boxes = Layout::horizontal(pods.iter().map(|_| Constraint::Length(BOX.0))).split(row);
        for (pod, area) in pods.iter().zip(boxes.iter()) {
            draw_pod(frame, *area, pod);
        }
        row.y += BOX.1;
    }
}

fn draw_pod(frame: &mut Frame, area: Rect, pod: &Cell) {
    let (traffic, color) = match pod.traffic {
        Traffic::Attached => ("● attached", Color::Green),
        Traffic::Detached => ("○ detached", Color::Yellow),
        Traffic::Unknown => ("· not in rotation", Color::Gray),
    };
    let life = match pod.life {
        Life::Starting => "starting",
        Life::Ready => "",
        Life::Ending => "ending",
        Life::Gone => "gone",
    };
    let version = if pod.is_new { pod.version.clone().cyan() } else { pod.version.clone().white() };
    let connections = match pod.connections {
        1 => "1 connection".to_owned(),
        number => format!("{number} connections"),
    };
    let text = vec![
        Line::from(vec![version.bold(), format!(" {}", pod.revision).dim()]),
        Line::styled(traffic, color),
        Line::raw(connections),
    ];
    let frame_style = match pod.life {
        Life::Ready => Style::new().fg(color),
        Life::Starting | Life::Ending | Life::Gone => {
            Style::new().fg(Color::DarkGray).add_modifier(Modifier::DIM)
        }
    };
    let name = Line::from(format!("nginx-{}", pod.ordinal)).style(Style::reset());
    let block =
        Block::bordered().border_style(frame_style).title(name).title(Line::from(life).right_aligned());
    let text = if pod.life == Life::Gone { Vec::new() } else { text };
    frame.render_widget(Paragraph::new(text).block(block), area);
}

#[expect(clippy::cast_precision_loss, reason = "a share of a few pods, for a bar")]
fn draw_gauge(frame: &mut Frame, area: Rect, scene: &Scene) {
    let share = scene.updated as f64 / scene.wanted.max(1) as f64;
    let label = format!("{} of {} pods upgraded", scene.updated, scene.wanted);
    let gauge = Gauge::default().ratio(share.clamp(0.0, 1.0)).label(label).gauge_style(Color::Cyan);
    frame.render_widget(gauge.block(Block::new().borders(Borders::TOP)), area);
}

fn draw_load(frame: &mut Frame, area: Rect, scene: &Scene) {
    let report = &scene.report;
    let rows = Kind::ALL.iter().filter_map(|kind| {
        let of_kind = report.kinds.get(kind)?;
        let style = if of_kind.lost() > 0 { Style::new().fg(Color::Red).bold() } else { Style::new() };
        let cells = [
            kind.to_string(),
            of_kind.requests.to_string(),
            of_kind.lost().to_string(),
            if of_kind.p99.is_zero() { "-".to_owned() } else { format!("{:.1?}", of_kind.p99) },
        ];
        Some(Row::new(cells).style(style))
    });
    let widths = [12, 10, 8, 10].map(Constraint::Length);
    let title = format!(
        " {} requests, {} lost, {} connections severed ",
        report.requests(),
        report.lost(),
        report.severed
    );
    let header = Row::new(["", "requests", "lost", "p99"]).style(Style::new().dim());
    let table = Table::new(rows, widths).header(header);
    frame.render_widget(table.block(Block::new().borders(Borders::TOP).title(title)), area);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_does_not_fit_is_cut_where_one_sees_it() {
        assert_eq!(cut("Attaching nginx-2", 20, 2), "Attaching nginx-2");
        let shown = cut(&"word ".repeat(20), 20, 2);
        assert!(shown.ends_with('…') && shown.chars().count() <= 36, "{shown}");
    }
}
