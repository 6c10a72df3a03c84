//! The format of the log. Pure: no file, no clock.
//!
//! The log is a sequence of frames, each a header of [`HEADER_BYTES`] and a payload, padded to [`ALIGN`]; all numbers are
//! little-endian:
//!
//! ```text
//!  0 magic       u32   so that frames can be searched for
//!  4 checksum    u32   CRC-32 of everything after it, started with the store's own number
//!  8 payload     u32   its length in bytes
//! 12 kind        u8
//! 13 flags       u8    1: the last frame of its group
//! 14 -           u16
//! 16 group       u64   number of the write that this frame belongs to; rises, with gaps
//! 24 before      u64   number of the last group that was durable when this one was written
//! 32 journal     u64   which journal, 0 for the segment's own frames
//! 40 epoch       u64   the journal's epoch
//! 48 offset      u64   the record's offset; for other kinds, see [`FrameKind`]
//! ```
//!
//! A group is written with one write and one flush; if one of its frames is missing, it counts as not written. `before` tells
//! a torn write from damage: a group that names another one as durable proves that the other one was written.

use bytes::{Buf, BufMut, Bytes};
use state::{Instance, Name, Record};

/// Size of a frame's header, in bytes.
pub(super) const HEADER_BYTES: usize = 56;
/// Frames begin at multiples of this, in bytes.
pub(super) const ALIGN: usize = 8;
/// Largest valid payload, in bytes: a largest record with many small headers.
pub(super) const PAYLOAD_BYTES_MAX: usize = 2 * Record::BYTES_MAX + (1 << 20);

const MAGIC: u32 = u32::from_le_bytes(*b"CHJ1");
const LAST: u8 = 1;

/// The type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FrameKind {
    /// Begins a segment. `offset` is the segment's number; payload: the file's size in bytes.
    Segment = 1,
    /// Declares a journal: just created, or carried over to a new segment. `offset` is that of its first record; payload:
    /// next offset, instance, name.
    Journal = 2,
    /// A record.
    Record = 3,
    /// The journal now begins at `offset`.
    Trim = 4,
    /// The segment ends here; the log goes on in the next one.
    Seal = 5,
    /// The journal and all its records are removed.
    Remove = 6,
}

/// A frame's header, without length and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogFrameHeader {
    pub(super) kind: FrameKind,
    pub(super) is_last: bool,
    pub(super) group: u64,
    pub(super) before: u64,
    pub(super) journal: u64,
    pub(super) epoch: u64,
    pub(super) offset: u64,
}

/// A header that was read, with the length and the checksum of the payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParsedHeader {
    pub(super) header: LogFrameHeader,
    pub(super) payload_bytes: usize,
    checksum: u32,
}

impl ParsedHeader {
    /// Bytes from the start of this frame to the start of the next one.
    pub(super) fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload_bytes)
    }
}

/// Size of a frame with a payload of this size.
pub(super) const fn frame_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(ALIGN)
}

/// Size of a record's payload, in bytes.
pub(super) fn record_payload_bytes(record: &Record) -> usize {
    4 + 8 * record.headers.len() + record.len()
}

/// Size of a journal's payload, in bytes.
pub(super) fn journal_payload_bytes(instance: &Instance, name: &Name) -> usize {
    8 + 2 + instance.as_str().len() + name.as_str().len()
}

/// Appends a frame; `payload` writes its payload.
pub(super) fn put(
    buffer: &mut Vec<u8>,
    store: u32,
    header: &LogFrameHeader,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let start = buffer.len();
    debug_assert_eq!(start % ALIGN, 0);
    buffer.put_u32_le(MAGIC);
    buffer.put_u32_le(0);
    buffer.put_u32_le(0);
    buffer.put_u8(header.kind as u8);
    buffer.put_u8(if header.is_last { LAST } else { 0 });
    buffer.put_u16_le(0);
    for number in [header.group, header.before, header.journal, header.epoch, header.offset] {
        buffer.put_u64_le(number);
    }
    payload(buffer);
    let payload_bytes = buffer.len() - start - HEADER_BYTES;
    let length = u32::try_from(payload_bytes).expect("payloads are bounded far below 4 GiB");
    buffer[start + 8..start + 12].copy_from_slice(&length.to_le_bytes());
    let sum = checksum(store, &buffer[start + 8..]);
    buffer[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    buffer.resize(start + frame_bytes(payload_bytes), 0);
}

/// Marks the frame at `start` as the last of its group.
pub(super) fn mark_last(buffer: &mut [u8], start: usize, store: u32) {
    let frame = &mut buffer[start..];
    frame[13] |= LAST;
    let payload_bytes = u32::from_le_bytes([frame[8], frame[9], frame[10], frame[11]]) as usize;
    let sum = checksum(store, &frame[8..HEADER_BYTES + payload_bytes]);
    frame[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// Reads a header. `None` if there is none or it is invalid.
pub(super) fn header(bytes: &[u8]) -> Option<ParsedHeader> {
    let mut bytes = bytes.get(..HEADER_BYTES)?;
    if bytes.get_u32_le() != MAGIC {
        return None;
    }
    let checksum = bytes.get_u32_le();
    let payload_bytes = bytes.get_u32_le() as usize;
    let kind = match bytes.get_u8() {
        1 => FrameKind::Segment,
        2 => FrameKind::Journal,
        3 => FrameKind::Record,
        4 => FrameKind::Trim,
        5 => FrameKind::Seal,
        6 => FrameKind::Remove,
        _ => return None,
    };
    let is_last = bytes.get_u8() & LAST != 0;
    bytes.advance(2);
    let mut number = || bytes.get_u64_le();
    let header = LogFrameHeader {
        kind,
        is_last,
        group: number(),
        before: number(),
        journal: number(),
        epoch: number(),
        offset: number(),
    };
    (payload_bytes <= PAYLOAD_BYTES_MAX).then_some(ParsedHeader { header, payload_bytes, checksum })
}

/// Whether the frame's checksum is correct; `bytes` begins with its header.
pub(super) fn is_intact(found: &ParsedHeader, bytes: &[u8], store: u32) -> bool {
    bytes
        .get(8..HEADER_BYTES + found.payload_bytes)
        .is_some_and(|covered| checksum(store, covered) == found.checksum)
}

fn checksum(store: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(store);
    hasher.update(bytes);
    hasher.finalize()
}

/// Writes a record's payload: number of headers, then lengths, name and value of each, then the body.
pub(super) fn put_record(buffer: &mut Vec<u8>, record: &Record) {
    let length = |bytes: usize| u32::try_from(bytes).expect("records are bounded far below 4 GiB");
    buffer.put_u32_le(length(record.headers.len()));
    for (name, value) in &record.headers {
        buffer.put_u32_le(length(name.len()));
        buffer.put_u32_le(length(value.len()));
        buffer.put_slice(name.as_bytes());
        buffer.put_slice(value);
    }
    buffer.put_slice(&record.body);
}

/// Reads a record's payload, sharing its bytes. `None` if it is invalid.
pub(super) fn record(mut payload: Bytes) -> Option<Record> {
    let count = payload.try_get_u32_le().ok()?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name_bytes = payload.try_get_u32_le().ok()? as usize;
        let value_bytes = payload.try_get_u32_le().ok()? as usize;
        if payload.len() < name_bytes.checked_add(value_bytes)? {
            return None;
        }
        let name = String::from_utf8(payload.split_to(name_bytes).to_vec()).ok()?;
        headers.push((name, payload.split_to(value_bytes)));
    }
    Some(Record { headers, body: payload })
}

/// Writes a journal's payload.
pub(super) fn put_journal(buffer: &mut Vec<u8>, next: u64, instance: &Instance, name: &Name) {
    buffer.put_u64_le(next);
    buffer.put_u16_le(u16::try_from(instance.as_str().len()).expect("instances have at most 128 bytes"));
    buffer.put_slice(instance.as_str().as_bytes());
    buffer.put_slice(name.as_str().as_bytes());
}

/// Reads a journal's payload: next offset, instance, name.
pub(super) fn journal(mut payload: &[u8]) -> Option<(u64, Instance, Name)> {
    let next = payload.try_get_u64_le().ok()?;
    let instance_bytes = usize::from(payload.try_get_u16_le().ok()?);
    let (instance, name) = payload.split_at_checked(instance_bytes)?;
    let instance = Instance::new(std::str::from_utf8(instance).ok()?).ok()?;
    Some((next, instance, Name::new(std::str::from_utf8(name).ok()?).ok()?))
}
