//! Messages that are written as frames, fragmented and masked in any way, with control frames between them, are read back unchanged, for
//! any length.

#![no_main]

use chappe_fuzz::pieces::Settings;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use websocket::{
    CloseBody, CloseCode, Decoder, Event, FrameBuilder, FrameHeader, MessageKind, Opcode, Role, close_frame,
    frame, masked_frame,
};

/// Long enough for the longest form of a length.
const PAYLOAD_BYTES_MAX: usize = 70_000;

#[derive(Debug, PartialEq)]
enum Said {
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>, String),
}

fuzz_target!(|data: &[u8]| {
    let Some((settings, rest)) = Settings::split(data) else { return };
    let masked = settings.switches & 1 == 0;
    // The script ends when the input does.
    let mut script = Script { source: Unstructured::new(rest), masked, stream: Vec::new(), said: Vec::new() };
    while !script.source.is_empty() && script.said.len() < 16 {
        if script.step().unwrap_or(true) {
            break;
        }
    }
    let Script { stream, said, .. } = script;
    assert_eq!(hear(&settings.pieces(&stream), if masked { Role::Server } else { Role::Client }), said);
});

struct Script<'a> {
    source: Unstructured<'a>,
    masked: bool,
    stream: Vec<u8>,
    said: Vec<Said>,
}

impl Script<'_> {
    /// Writes one message; returns whether it was the last.
    fn step(&mut self) -> Result<bool> {
        match self.source.arbitrary::<u8>()? % 8 {
            0..=4 => self.message()?,
            5 => self.control(Opcode::Ping, Said::Ping)?,
            6 => self.control(Opcode::Pong, Said::Pong)?,
            _ => {
                self.close()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn payload(&mut self, bytes_max: usize) -> Result<Vec<u8>> {
        // Long messages cost time, and differ little from short ones.
        let bytes_max = if self.source.ratio(1, 16)? { bytes_max } else { bytes_max.min(300) };
        let length = self.source.int_in_range(0..=bytes_max)?;
        let seed = self.source.arbitrary::<u8>()?;
        // Text or bytes, of a length that is independent of the input's.
        Ok((0..length).map(|index| b'0' + (seed ^ index as u8) % 64).collect())
    }

    fn message(&mut self) -> Result<()> {
        let kind = if self.source.arbitrary()? { MessageKind::Text } else { MessageKind::Binary };
        let first = if kind == MessageKind::Text { Opcode::Text } else { Opcode::Binary };
        let payload = self.payload(PAYLOAD_BYTES_MAX)?;
        let parts = self.source.int_in_range(1..=4usize)?;
        let part_bytes = payload.len() / parts + 1;
        let mut said_between = Vec::new();
        for number in 0..parts {
            let start = (number * part_bytes).min(payload.len());
            let end =
                if number + 1 == parts { payload.len() } else { (start + part_bytes).min(payload.len()) };
            let opcode = if number == 0 { first } else { Opcode::Continuation };
            self.write(opcode, number + 1 == parts, &payload[start..end])?;
            if number + 1 < parts && self.source.arbitrary()? {
                let ping = self.payload(125)?;
                self.write(Opcode::Ping, true, &ping)?;
                said_between.push(Said::Ping(ping));
            }
        }
        self.said.extend(said_between);
        self.said.push(Said::Message(kind, payload));
        Ok(())
    }

    fn control(&mut self, opcode: Opcode, said: impl FnOnce(Vec<u8>) -> Said) -> Result<()> {
        let payload = self.payload(125)?;
        self.write(opcode, true, &payload)?;
        self.said.push(said(payload));
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let reason: String = self.source.arbitrary()?;
        let code = CloseCode::new(self.source.int_in_range(1000..=4999)?).unwrap_or(CloseCode::NORMAL);
        let written = close_frame(code, &reason);
        let fits = &reason[..reason.floor_char_boundary(123)];
        assert!(written.len() <= 2 + 125);
        self.write(Opcode::Close, true, &written[2..])?;
        self.said.push(Said::Close(Some(code), fits.to_owned()));
        Ok(())
    }

    fn write(&mut self, opcode: Opcode, fin: bool, payload: &[u8]) -> Result<()> {
        let at = self.stream.len();
        if self.masked {
            self.stream.extend(masked_frame(opcode, payload, self.source.arbitrary()?));
        } else {
            let whole = frame(opcode, payload);
            // The two ways to write a frame have the same result.
            let mut builder = FrameBuilder::new();
            builder.payload().extend_from_slice(payload);
            assert_eq!(builder.finish(opcode), whole);
            assert!(whole.starts_with(FrameHeader::new(opcode, payload.len()).as_bytes()));
            self.stream.extend_from_slice(&whole);
        }
        if !fin {
            self.stream[at] &= 0x7f;
        }
        Ok(())
    }
}

fn hear(pieces: &[&[u8]], role: Role) -> Vec<Said> {
    let mut decoder = Decoder::new(role, PAYLOAD_BYTES_MAX as u32);
    let mut heard = Vec::new();
    for piece in pieces {
        let mut copy = piece.to_vec();
        let mut rest = &mut copy[..];
        loop {
            let decoded = decoder.decode(rest).expect("what was written keeps the rules");
            let consumed = decoded.consumed;
            heard.push(match decoded.event {
                None => break,
                Some(Event::Message(kind, payload)) => Said::Message(kind, payload.to_vec()),
                Some(Event::Ping(payload)) => Said::Ping(payload.to_vec()),
                Some(Event::Pong(payload)) => Said::Pong(payload.to_vec()),
                Some(Event::Close(CloseBody { code, reason })) => Said::Close(code, reason.to_owned()),
            });
            rest = &mut rest[consumed..];
        }
    }
    heard
}
