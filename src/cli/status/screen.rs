//! Drawing in place: no other screen is entered, so what was shown last stays where it is.

use std::fmt::Write as _;
use std::io::{self, Stdout, Write as _};

use terminal_size::{Height, Width, terminal_size};

use crate::cli::text::Screen;

/// The terminal while something is drawn on it; dropping it shows the cursor again.
#[derive(Debug)]
pub struct Canvas {
    out: Stdout,
    /// Lines above the cursor that are ours.
    drawn: usize,
}

impl Canvas {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open() -> io::Result<Self> {
        let mut canvas = Self { out: io::stdout(), drawn: 0 };
        write!(canvas.out, "\x1b[?25l")?;
        Ok(canvas)
    }

    /// The terminal has another size: where the lines of before are now cannot be told, so all that is
    /// on it goes.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn clear(&mut self) -> io::Result<()> {
        self.drawn = 0;
        write!(self.out, "\x1b[H\x1b[2J")
    }

    /// Draws these lines in the place of those before. Each must fit into the width.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut frame = String::new();
        if self.drawn > 0 {
            let _ = write!(frame, "\x1b[{}A", self.drawn);
        }
        // Line by line, so that nothing flickers; what was below goes at the end.
        frame.push('\r');
        for line in lines {
            frame.push_str(line);
            frame.push_str("\x1b[K\n");
        }
        frame.push_str("\x1b[J");
        self.drawn = lines.len();
        self.out.write_all(frame.as_bytes())?;
        self.out.flush()
    }
}

impl Drop for Canvas {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = write!(self.out, "\x1b[?25h");
        let _ = self.out.flush();
    }
}

/// The size of the terminal that standard output is; none where it is none.
pub fn size() -> Option<Screen> {
    let (Width(width), Height(height)) = terminal_size()?;
    Some(Screen { width: usize::from(width).max(20), height: usize::from(height).max(5) })
}
