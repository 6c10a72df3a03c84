//! Reads the frames of a segment, and tells a torn write from damage.

use std::fs::File;
use std::io;

use super::frame::{self, HEADER_BYTES, LogFrameHeader, ParsedHeader};
use crate::platform;

/// Size of one read, in bytes; a larger frame is read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// A segment file, read through a window that moves forward.
pub(super) struct SegmentScan<'a> {
    file: &'a File,
    store: u32,
    window: Vec<u8>,
    window_position: u64,
}

/// An intact frame.
pub(super) struct SegmentFrame<'w> {
    pub(super) header: LogFrameHeader,
    pub(super) payload: &'w [u8],
    pub(super) bytes: u64,
}

impl<'a> SegmentScan<'a> {
    pub(super) fn new(file: &'a File, store: u32) -> Self {
        Self { file, store, window: Vec::new(), window_position: 0 }
    }

    /// Up to `bytes` bytes at `position`; fewer at the end of the file.
    fn at(&mut self, position: u64, bytes: usize) -> io::Result<&[u8]> {
        let end = self.window_position + self.window.len() as u64;
        if position < self.window_position || position + bytes as u64 > end {
            self.window = vec![0; bytes.max(WINDOW_BYTES)];
            let filled = platform::read_at(self.file, &mut self.window, position)?;
            self.window.truncate(filled);
            self.window_position = position;
        }
        let start = usize::try_from(position - self.window_position).expect("the window is in memory");
        let end = (start + bytes).min(self.window.len());
        Ok(&self.window[start.min(end)..end])
    }

    /// The intact frame at `position`, if there is one.
    pub(super) fn frame(&mut self, position: u64) -> io::Result<Option<SegmentFrame<'_>>> {
        let store = self.store;
        let Some(found) = frame::header(self.at(position, HEADER_BYTES)?) else { return Ok(None) };
        let bytes = self.at(position, HEADER_BYTES + found.payload_bytes)?;
        if !frame::is_intact(&found, bytes, store) {
            return Ok(None);
        }
        Ok(Some(frame_of(&found, bytes)))
    }

    /// Whether a group that follows `group` begins at `position`, complete or not.
    pub(super) fn begins_group(&mut self, position: u64, group: u64) -> io::Result<bool> {
        let found = frame::header(self.at(position, HEADER_BYTES)?);
        Ok(found.is_some_and(|found| found.header.before == group && found.header.group > group))
    }

    /// Whether a frame from `position` on proves that a group after `group` was durable: then the unreadable bytes before it
    /// are damage and not a torn write.
    pub(super) fn proves_damage(&mut self, position: u64, group: u64) -> io::Result<bool> {
        let store = self.store;
        let mut position = position.next_multiple_of(frame::ALIGN as u64);
        loop {
            let window = self.at(position, WINDOW_BYTES)?;
            if window.len() < HEADER_BYTES {
                return Ok(false);
            }
            // Every aligned position of the window where a header fits; the frame itself may be longer than the window.
            let positions = (window.len() - HEADER_BYTES) / frame::ALIGN + 1;
            let candidates: Vec<_> = (0..positions)
                .map(|index| index * frame::ALIGN)
                .filter(|start| {
                    frame::header(&window[*start..]).is_some_and(|found| found.header.before > group)
                })
                .map(|start| position + start as u64)
                .collect();
            for candidate in candidates {
                let Some(found) = frame::header(self.at(candidate, HEADER_BYTES)?) else { continue };
                let bytes = self.at(candidate, HEADER_BYTES + found.payload_bytes)?;
                if frame::is_intact(&found, bytes, store) {
                    return Ok(true);
                }
            }
            position += (positions * frame::ALIGN) as u64;
        }
    }
}

fn frame_of<'w>(found: &ParsedHeader, bytes: &'w [u8]) -> SegmentFrame<'w> {
    SegmentFrame { header: found.header, payload: &bytes[HEADER_BYTES..], bytes: found.frame_bytes() as u64 }
}
