//! Text for people: colours, columns, lengths of time, lines that fit.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

/// How much room there is and whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    /// Colours may be used.
    pub colour: bool,
    /// The terminal; none where the output is no terminal.
    pub screen: Option<Screen>,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Lines.
    pub height: usize,
}

/// Where nothing else is known.
const WIDTH: usize = 80;

/// What a word means, and so how it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// Beside the point.
    Faint,
    /// As it should be.
    Good,
    /// Under way, or to be looked at.
    Busy,
    /// Wrong.
    Bad,
}

impl Paint {
    /// No terminal and no colours.
    pub const PLAIN: Self = Self { colour: false, screen: None };

    /// The columns that lines are made for.
    pub fn width(self) -> usize {
        self.screen.map_or(WIDTH, |screen| screen.width)
    }

    /// A text as it looks.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let style = match tone {
            Tone::Plain => Style::new(),
            Tone::Strong => Style::new().bold(),
            Tone::Faint => Style::new().dimmed(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Busy => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
        };
        if self.colour && tone != Tone::Plain { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// A text of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// What stands in it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// As it looks outside of a table.
    pub fn paint(&self, paint: Paint) -> String {
        paint.tone(self.tone, &self.text)
    }
}

/// A cell that means something.
pub fn cell(tone: Tone, text: impl Into<String>) -> Cell {
    Cell { text: text.into(), tone }
}

/// A plain cell.
pub fn plain(text: impl Into<String>) -> Cell {
    cell(Tone::Plain, text)
}

/// Between two columns.
const GAP: usize = 3;

/// Rows in columns under a heading. With `width` the last column is cut so that each line fits, and
/// where that is not enough all from some column on.
pub fn table(paint: Paint, heading: &[&str], rows: Vec<Vec<Cell>>, width: Option<usize>) -> Vec<String> {
    let mut all = vec![heading.iter().map(|text| cell(Tone::Faint, *text)).collect::<Vec<_>>()];
    all.extend(rows);
    let columns = heading.len();
    let size = |column: usize| {
        all.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max().unwrap_or(0)
    };
    let sizes: Vec<usize> = (0..columns).map(size).collect();
    let line = |row: &Vec<Cell>| {
        let mut line = String::new();
        let mut used = 0;
        for (column, cell) in row.iter().enumerate() {
            // What follows only blanks is not padded.
            let is_last = row.iter().skip(column + 1).all(|cell| cell.text.is_empty());
            let room = width.map_or(usize::MAX, |width| width.saturating_sub(used));
            let text = fit(&cell.text, room);
            line.push_str(&paint.tone(cell.tone, &text));
            let size = sizes.get(column).copied().unwrap_or_default();
            let pad = size.saturating_sub(text.chars().count()) + GAP;
            used += text.chars().count() + pad;
            if is_last || width.is_some_and(|width| used >= width) {
                break;
            }
            let _ = write!(line, "{:pad$}", "");
        }
        line
    };
    all.iter().map(line).collect()
}

/// A text that is cut, visibly, where it is longer than the room.
pub fn fit(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

/// A text in lines of at most `width` characters, broken between words; all but the first are indented.
pub fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(" ".repeat(indent));
            used = indent;
        } else if used > 0 {
            if let Some(line) = lines.last_mut() {
                line.push(' ');
            }
            used += 1;
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(word);
        }
        used += length;
        // The indent is no word that a blank must follow.
        used = used.max(1);
    }
    lines
}

/// A length of time as kubectl writes ages: the two largest units at most.
pub fn length(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

fn two(large: i64, unit: &str, small: i64, smaller: &str) -> String {
    if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{smaller}") }
}

/// How long ago something was.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    length(now.duration_since(since).as_secs())
}

/// How far something is, as a bar of so many characters.
pub fn bar(done: usize, of: usize, width: usize) -> String {
    let inner = width.saturating_sub(2);
    let full = (inner * done.min(of)).checked_div(of).unwrap_or(inner);
    let head = if full > 0 && full < inner { ">" } else { "" };
    format!("[{}{head}{}]", "=".repeat(full - head.len()), "-".repeat(inner - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_two_units_at_most() {
        for (seconds, text) in [
            (-3, "0s"),
            (95, "95s"),
            (120, "2m"),
            (192, "3m12s"),
            (1800, "30m"),
            (4 * 3600 + 60, "4h1m"),
            (86_400, "24h"),
            (3 * 86_400 + 7200, "3d2h"),
            (30 * 86_400, "30d"),
        ] {
            assert_eq!(length(seconds), text);
        }
    }

    #[test]
    fn lines_never_are_longer_than_the_room() {
        let text = "Draining: web-1: 3 connections left (at most 0); until 00:02:29 UTC";
        for width in 20..80 {
            assert!(wrap(text, width, 4).iter().all(|line| line.chars().count() <= width), "{width}");
            assert!(fit(text, width).chars().count() <= width);
        }
        assert_eq!(wrap(text, 40, 2).concat().split_whitespace().collect::<String>(), text.replace(' ', ""));
    }

    #[test]
    fn a_bar_is_as_wide_as_it_is_told_however_far_it_is() {
        for done in 0..=7 {
            assert_eq!(bar(done, 7, 20).chars().count(), 20, "{done}");
        }
        assert_eq!(bar(0, 4, 10), "[--------]");
        assert_eq!(bar(2, 4, 10), "[===>----]");
        assert_eq!(bar(4, 4, 10), "[========]");
        assert_eq!(bar(0, 0, 10), "[========]");
    }

    #[test]
    fn columns_stand_below_each_other_also_with_colours() {
        let rows = || vec![vec![cell(Tone::Good, "a"), plain("b")], vec![plain("long"), plain("c")]];
        let lines = table(Paint::PLAIN, &["X", "Y"], rows(), None);
        assert_eq!(lines, ["X      Y", "a      b", "long   c"]);
        let painted = table(Paint { colour: true, screen: None }, &["X", "Y"], rows(), None);
        let narrow = table(Paint::PLAIN, &["X", "Y"], rows(), Some(6));
        assert_eq!(narrow, ["X", "a", "long"]);
        assert!(painted[1].contains("\u{1b}[32ma\u{1b}[0m      b"), "{:?}", painted[1]);
    }
}
