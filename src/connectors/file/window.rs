//! A sliding view of a reader, for scanners that must see an item whole before they can judge it.
//!
//! Invariant: memory is bounded by [`ITEM_BYTES_MAX`], however long the file is.

use std::io::{self, Read};

use super::broken::Broken;

/// The longest single record, in bytes. A quote or bracket that is never closed ends here instead
/// of in memory.
pub(super) const ITEM_BYTES_MAX: usize = 16 << 20;

const START_BYTES: usize = 256 << 10;

/// The unread bytes of a reader, as many as were asked for.
pub(super) struct Window<R> {
    reader: R,
    bytes: Vec<u8>,
    start: usize,
    filled: usize,
    /// Bytes consumed so far: the place of the window in the file.
    offset: u64,
    ended: bool,
}

impl<R: Read> Window<R> {
    /// Makes an empty view.
    pub(super) fn new(reader: R) -> Self {
        Self { reader, bytes: Vec::new(), start: 0, filled: 0, offset: 0, ended: false }
    }

    /// Returns what is in view and not consumed.
    pub(super) fn data(&self) -> &[u8] {
        self.bytes.get(self.start..self.filled).unwrap_or(&[])
    }

    /// Tells that the view reaches the end of the file.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Returns how many bytes of the file lie before the view.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Moves the view past bytes that are dealt with.
    pub(super) fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.filled - self.start);
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Brings more of the file into view; a scan starts again at the front of [`Self::data`].
    pub(super) fn more(&mut self) -> Result<(), Broken> {
        self.bytes.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        if self.filled == self.bytes.len() {
            if self.filled >= ITEM_BYTES_MAX {
                return Err(Broken::TooLong { offset: self.offset });
            }
            // Doubling keeps the cost of scanning again from the front linear.
            self.bytes.resize((self.bytes.len() * 2).max(START_BYTES), 0);
        }
        while let Some(room) = self.bytes.get_mut(self.filled..).filter(|room| !room.is_empty()) {
            match self.reader.read(room) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Read(error)),
            }
        }
        Ok(())
    }

    /// Consumes the byte order mark, if there is one, and gives it back.
    pub(super) fn take_mark(&mut self) -> Result<&'static [u8], Broken> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        if self.data().is_empty() {
            self.more()?;
        }
        match self.data() {
            [] => Err(Broken::NoBytes),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => Err(Broken::Utf16),
            data if data.starts_with(MARK) => {
                self.consume(MARK.len());
                Ok(MARK)
            }
            _ => Ok(&[]),
        }
    }
}
