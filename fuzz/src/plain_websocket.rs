//! A simple parser for the frames of RFC 6455, for a complete stream: an independent check of the decoder.

use websocket::{CloseCode, MessageKind, Role, Violation};

/// The content of the stream, one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A complete message.
    Message(MessageKind, Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame of the peer.
    Close(Option<CloseCode>, String),
    /// A violated rule; nothing is read after it.
    Broken(Violation),
    /// The stream ends within a frame or a message.
    Incomplete,
}

/// Reads frame by frame, as sections 5.2 to 5.5 specify.
pub fn read(mut stream: &[u8], role: Role, bytes_max: u32) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut message: Option<(MessageKind, Vec<u8>)> = None;
    while !stream.is_empty() {
        let frame = match Frame::read(stream, role) {
            Ok(Some(frame)) => frame,
            Ok(None) => return [seen, vec![Seen::Incomplete]].concat(),
            Err(violation) => return [seen, vec![Seen::Broken(violation)]].concat(),
        };
        let next = match take(frame.clone(), &mut message, bytes_max) {
            Ok(next) => next,
            Err(violation) => return [seen, vec![Seen::Broken(violation)]].concat(),
        };
        let Some(used) = frame.used else { return [seen, vec![Seen::Incomplete]].concat() };
        stream = &stream[used..];
        let closed = matches!(next, Some(Seen::Close(..)));
        seen.extend(next);
        if closed {
            return seen;
        }
    }
    if message.is_some() {
        seen.push(Seen::Incomplete);
    }
    seen
}

#[derive(Clone)]
struct Frame {
    opcode: u8,
    fin: bool,
    /// As the head says.
    length: u64,
    payload: Vec<u8>,
    /// Bytes of the complete frame; `None` if the stream ends within it.
    used: Option<usize>,
}

impl Frame {
    /// The next frame, or `None` if its head is incomplete.
    fn read(stream: &[u8], role: Role) -> Result<Option<Self>, Violation> {
        if stream.len() < 2 {
            return Ok(None);
        }
        let (opcode, fin) = (stream[0] & 15, stream[0] >= 128);
        if stream[0] & 0b0111_0000 != 0 {
            return Err(Violation::ReservedBit);
        }
        if !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10) {
            return Err(Violation::Opcode);
        }
        let masked = stream[1] >= 128;
        if masked != (role == Role::Server) {
            return Err(if masked { Violation::Masked } else { Violation::Unmasked });
        }
        let short = stream[1] & 127;
        if opcode >= 8 && (short > 125 || !fin) {
            return Err(Violation::Control);
        }
        let more = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(long) = stream.get(2..2 + more) else { return Ok(None) };
        let long = long.iter().fold(0u64, |length, byte| length << 8 | u64::from(*byte));
        let length = if more == 0 { u64::from(short) } else { long };
        if (more == 2 && length < 126) || (more == 8 && (length < 65_536 || length > i64::MAX as u64)) {
            return Err(Violation::Length);
        }
        let mut at = 2 + more;
        let mut key = [0; 4];
        if masked {
            let Some(bytes) = stream.get(at..at + 4) else { return Ok(None) };
            key.copy_from_slice(bytes);
            at += 4;
        }
        let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
        let used = end.filter(|end| *end <= stream.len());
        let there = &stream[at..used.unwrap_or(stream.len())];
        let payload = there.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]).collect();
        Ok(Some(Self { opcode, fin, length, payload, used }))
    }
}

/// What a frame means, given the incomplete message before it. The rules are checked even if the payload is incomplete.
fn take(
    frame: Frame,
    message: &mut Option<(MessageKind, Vec<u8>)>,
    bytes_max: u32,
) -> Result<Option<Seen>, Violation> {
    let whole = frame.used.is_some();
    match frame.opcode {
        9 => return Ok(whole.then_some(Seen::Ping(frame.payload))),
        10 => return Ok(whole.then_some(Seen::Pong(frame.payload))),
        8 if whole => return close(&frame.payload).map(Some),
        8 => return Ok(None),
        _ => {}
    }
    if message.is_some() != (frame.opcode == 0) {
        return Err(Violation::Fragment);
    }
    let before = message.as_ref().map_or(0, |(_, bytes)| bytes.len() as u128);
    if before + u128::from(frame.length) > u128::from(bytes_max) {
        return Err(Violation::TooBig { bytes_max });
    }
    let kind = if frame.opcode == 1 { MessageKind::Text } else { MessageKind::Binary };
    let (kind, bytes) = message.get_or_insert((kind, Vec::new()));
    bytes.extend(frame.payload);
    if !frame.fin || !whole {
        return Ok(None);
    }
    let (kind, bytes) = (*kind, std::mem::take(bytes));
    *message = None;
    if kind == MessageKind::Text && std::str::from_utf8(&bytes).is_err() {
        return Err(Violation::Utf8);
    }
    Ok(Some(Seen::Message(kind, bytes)))
}

fn close(body: &[u8]) -> Result<Seen, Violation> {
    if body.is_empty() {
        return Ok(Seen::Close(None, String::new()));
    }
    if body.len() == 1 {
        return Err(Violation::CloseBody);
    }
    let number = u16::from(body[0]) * 256 + u16::from(body[1]);
    let code = CloseCode::new(number).ok_or(Violation::CloseBody)?;
    let reason = String::from_utf8(body[2..].to_vec()).map_err(|_| Violation::Utf8)?;
    Ok(Seen::Close(Some(code), reason))
}
