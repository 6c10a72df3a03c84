//! Reading a segment group by group, and telling a torn tail from damage.

use std::fs::File;
use std::io;

use super::frame::{self, Found, HEAD_BYTES, Head};
use crate::platform;

/// Read at once, in bytes, where frames are smaller.
const WINDOW_BYTES: usize = 1 << 20;

/// A segment file seen through a window that moves forward.
pub(super) struct Scan<'a> {
    file: &'a File,
    store: u32,
    window: Vec<u8>,
    window_position: u64,
}

/// A frame that is as it was written.
pub(super) struct Frame<'w> {
    pub(super) head: Head,
    pub(super) payload: &'w [u8],
    pub(super) bytes: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(file: &'a File, store: u32) -> Self {
        Self { file, store, window: Vec::new(), window_position: 0 }
    }

    /// Up to `bytes` bytes at `position`; fewer at the end of the file.
    fn at(&mut self, position: u64, bytes: usize) -> io::Result<&[u8]> {
        let end = self.window_position + self.window.len() as u64;
        if position < self.window_position || position + bytes as u64 > end {
            self.window.resize(bytes.max(WINDOW_BYTES), 0);
            let filled = platform::read_at(self.file, &mut self.window, position)?;
            self.window.truncate(filled);
            self.window_position = position;
        }
        let start = usize::try_from(position - self.window_position).expect("the window is in memory");
        let end = (start + bytes).min(self.window.len());
        Ok(&self.window[start.min(end)..end])
    }

    /// The sound frame at `position`, if there is one.
    pub(super) fn frame(&mut self, position: u64) -> io::Result<Option<Frame<'_>>> {
        let store = self.store;
        let Some(found) = frame::head(self.at(position, HEAD_BYTES)?) else { return Ok(None) };
        let bytes = self.at(position, HEAD_BYTES + found.payload_bytes)?;
        if !frame::is_sound(&found, bytes, store) {
            return Ok(None);
        }
        Ok(Some(frame_of(&found, bytes)))
    }

    /// Whether a group that would follow `group` begins at `position`, whole or not.
    pub(super) fn begins_group(&mut self, position: u64, group: u64) -> io::Result<bool> {
        let found = frame::head(self.at(position, HEAD_BYTES)?);
        Ok(found.is_some_and(|found| found.head.before == group && found.head.group > group))
    }

    /// Whether a frame from `position` on proves that a group after `group` had been durable: then what cannot be read
    /// before it is no torn tail.
    pub(super) fn proves_damage(&mut self, position: u64, group: u64) -> io::Result<bool> {
        let store = self.store;
        let mut position = position.next_multiple_of(frame::ALIGN as u64);
        loop {
            let window = self.at(position, WINDOW_BYTES)?;
            if window.len() < HEAD_BYTES {
                return Ok(false);
            }
            // Every aligned place of the window, as long as a head fits; the frame itself may be longer than the window.
            let places = (window.len() - HEAD_BYTES) / frame::ALIGN + 1;
            let candidates: Vec<_> = (0..places)
                .map(|place| place * frame::ALIGN)
                .filter(|start| frame::head(&window[*start..]).is_some_and(|found| found.head.before > group))
                .map(|start| position + start as u64)
                .collect();
            for candidate in candidates {
                let Some(found) = frame::head(self.at(candidate, HEAD_BYTES)?) else { continue };
                let bytes = self.at(candidate, HEAD_BYTES + found.payload_bytes)?;
                if frame::is_sound(&found, bytes, store) {
                    return Ok(true);
                }
            }
            position += (places * frame::ALIGN) as u64;
        }
    }
}

fn frame_of<'w>(found: &Found, bytes: &'w [u8]) -> Frame<'w> {
    Frame { head: found.head, payload: &bytes[HEAD_BYTES..], bytes: found.frame_bytes() as u64 }
}
