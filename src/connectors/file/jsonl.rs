//! JSON Lines: one object a line. Empty lines say nothing and are kept.
//!
//! A file without any byte is never taken for an empty stream (a writer truncates before it
//! writes); a lone line end is one, and is what we leave when the last record goes.

use std::io::Read;

use super::broken::Broken;
use super::window::Window;

/// The lines of a file, one at a time.
pub(super) struct Lines<R> {
    window: Window<R>,
    content: usize,
    length: usize,
    pub(super) mark: &'static [u8],
}

impl<R: Read> Lines<R> {
    /// Starts at the front of a file that has at least one byte.
    pub(super) fn new(reader: R) -> Result<Self, Broken> {
        let mut window = Window::new(reader);
        let mark = window.take_mark()?;
        Ok(Self { window, content: 0, length: 0, mark })
    }

    /// Moves to the next line; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool, Broken> {
        self.window.consume(self.length);
        (self.length, self.content) = (0, 0);
        loop {
            let data = self.window.data();
            if let Some(end) = data.iter().position(|&byte| byte == b'\n') {
                let line = data.get(..end).unwrap_or(&[]);
                (self.content, self.length) = (line.strip_suffix(b"\r").unwrap_or(line).len(), end + 1);
                return Ok(true);
            }
            if self.window.ended() {
                (self.content, self.length) = (data.len(), data.len());
                return match data.trim_ascii_end().last() {
                    // Without a line end, only a closed object proves that the line is whole.
                    Some(b'}') => Ok(true),
                    Some(_) => Err(Broken::Torn("inside a record")),
                    None => Ok(!self.raw().is_empty()),
                };
            }
            self.window.more()?;
        }
    }

    /// Returns the line as it stands in the file, line end included.
    pub(super) fn raw(&self) -> &[u8] {
        self.window.data().get(..self.length).unwrap_or(&[])
    }

    /// Returns the line without its line end.
    pub(super) fn content(&self) -> &[u8] {
        self.window.data().get(..self.content).unwrap_or(&[])
    }

    /// Returns the line end; empty on a last line without one.
    pub(super) fn line_end(&self) -> &[u8] {
        self.window.data().get(self.content..self.length).unwrap_or(&[])
    }

    /// Tells whether the line says nothing.
    pub(super) fn is_blank(&self) -> bool {
        self.content().trim_ascii().is_empty()
    }

    /// Tells whether this is the last line and has no line end.
    pub(super) fn is_open(&self) -> bool {
        self.length > 0 && self.content == self.length
    }
}
