//! [`FieldWriter`]: writes the fields of a message in order.

use rmp::encode;

use super::message::{DataMessageType, Extensions, UnixTime};

const INFALLIBLE: &str = "writing to a vector cannot fail";

/// Writes a message to a buffer.
pub(super) struct FieldWriter<'o> {
    pub(super) out: &'o mut Vec<u8>,
}

impl FieldWriter<'_> {
    /// The start of a message: its type, and the number of fields.
    pub(super) fn begin(&mut self, kind: u64, fields: u32) {
        encode::write_array_len(self.out, fields + 1).expect(INFALLIBLE);
        encode::write_uint(self.out, kind).expect(INFALLIBLE);
    }

    pub(super) fn number(&mut self, number: i32) {
        encode::write_sint(self.out, number.into()).expect(INFALLIBLE);
    }

    pub(super) fn flag(&mut self, flag: bool) {
        encode::write_bool(self.out, flag).expect(INFALLIBLE);
    }

    pub(super) fn optional_number(&mut self, number: Option<i32>) {
        match number {
            Some(number) => self.number(number),
            None => self.nil(),
        }
    }

    pub(super) fn nil(&mut self) {
        encode::write_nil(self.out).expect(INFALLIBLE);
    }

    pub(super) fn text(&mut self, text: &str) {
        encode::write_str(self.out, text).expect(INFALLIBLE);
    }

    pub(super) fn optional_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.nil(),
        }
    }

    pub(super) fn texts(&mut self, texts: &[&str]) {
        encode::write_array_len(self.out, count(texts.len())).expect(INFALLIBLE);
        for text in texts {
            self.text(text);
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        encode::write_bin(self.out, bytes).expect(INFALLIBLE);
    }

    pub(super) fn optional_bytes(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.nil(),
        }
    }

    pub(super) fn map(&mut self, pairs: usize) {
        encode::write_map_len(self.out, count(pairs)).expect(INFALLIBLE);
    }

    pub(super) fn payloads(&mut self, payloads: &[(&str, &[u8])]) {
        self.map(payloads.len());
        for (name, payload) in payloads {
            self.text(name);
            self.bytes(payload);
        }
    }

    pub(super) fn claims(&mut self, claims: &[(&str, &str)]) {
        self.map(claims.len());
        for (kind, value) in claims {
            self.text(kind);
            self.text(value);
        }
    }

    pub(super) fn headers(&mut self, headers: &[(&str, Vec<&str>)]) {
        self.map(headers.len());
        for (name, values) in headers {
            self.text(name);
            self.texts(values);
        }
    }

    pub(super) fn extensions(&mut self, extensions: &Extensions<'_>) {
        let Extensions { tracing_id, ttl, protocol, filter, data_message_type, is_partial } = extensions;
        let has_type = *data_message_type != DataMessageType::Unknown;
        let members = [
            tracing_id.is_some(),
            ttl.is_some(),
            protocol.is_some(),
            filter.is_some(),
            has_type,
            *is_partial,
        ];
        self.map(members.iter().filter(|member| **member).count());
        if let Some(tracing_id) = tracing_id {
            self.number(1);
            encode::write_uint(self.out, *tracing_id).expect(INFALLIBLE);
        }
        if let Some(ttl) = ttl {
            self.number(2);
            self.number(*ttl);
        }
        for (key, text) in [(3, protocol), (4, filter)] {
            if let Some(text) = text {
                self.number(key);
                self.text(text);
            }
        }
        if has_type {
            self.number(5);
            self.number(data_message_type.number());
        }
        if *is_partial {
            self.number(6);
            self.flag(true);
        }
    }

    /// A MessagePack timestamp in its shortest form, or nil.
    pub(super) fn time(&mut self, time: Option<UnixTime>) {
        let Some(UnixTime { seconds, nanoseconds }) = time else { return self.nil() };
        let mut extension = |bytes: &[u8]| {
            encode::write_ext_meta(self.out, count(bytes.len()), -1).expect(INFALLIBLE);
            self.out.extend_from_slice(bytes);
        };
        match (u32::try_from(seconds), u64::try_from(seconds)) {
            (Ok(seconds), _) if nanoseconds == 0 => extension(&seconds.to_be_bytes()),
            (_, Ok(seconds)) if seconds < 1 << 34 => {
                extension(&(u64::from(nanoseconds) << 34 | seconds).to_be_bytes());
            }
            _ => {
                let mut bytes = [0; 12];
                bytes[..4].copy_from_slice(&nanoseconds.to_be_bytes());
                bytes[4..].copy_from_slice(&seconds.to_be_bytes());
                extension(&bytes);
            }
        }
    }
}

pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a message has far fewer entries than 2^32")
}
