//! [`JsonText`]: decodes and encodes JSON strings. JSON and JavaScript allow unpaired surrogates, UTF-8 does not: the caller chooses
//! whether they are kept (as three bytes) or replaced.

use std::borrow::Cow;

/// A string as written between its quotation marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonText<'a> {
    pub(super) raw: &'a str,
    pub(super) has_escapes: bool,
}

/// How to decode an unpaired surrogate, which UTF-8 text cannot contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnpairedSurrogate {
    /// Its three bytes, as encoders without validation write it.
    Keep,
    /// U+FFFD.
    Replace,
}

impl<'a> JsonText<'a> {
    /// The string; an unpaired surrogate becomes U+FFFD, because a Rust string cannot contain it.
    pub fn lossy(self) -> Cow<'a, str> {
        if !self.has_escapes {
            return Cow::Borrowed(self.raw);
        }
        // Everything except unpaired surrogates is UTF-8, and those are replaced.
        let bytes = self.decoded(UnpairedSurrogate::Replace);
        Cow::Owned(
            String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        )
    }

    /// The string in UTF-8; an unpaired surrogate becomes three bytes, as in JavaScript's MessagePack encoders.
    pub fn bytes(self) -> Cow<'a, [u8]> {
        if self.has_escapes {
            Cow::Owned(self.decoded(UnpairedSurrogate::Keep))
        } else {
            Cow::Borrowed(self.raw.as_bytes())
        }
    }

    fn decoded(self, half: UnpairedSurrogate) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.raw.len());
        let mut rest = self.raw.as_bytes();
        while let Some(at) = memchr::memchr(b'\\', rest) {
            out.extend_from_slice(&rest[..at]);
            let Some((escape, behind)) = rest[at + 1..].split_first() else { return out };
            rest = behind;
            match escape {
                b'b' => out.push(0x08),
                b'f' => out.push(0x0c),
                b'n' => out.push(b'\n'),
                b'r' => out.push(b'\r'),
                b't' => out.push(b'\t'),
                b'u' => rest = unit(rest, half, &mut out),
                other => out.push(*other),
            }
        }
        out.extend_from_slice(rest);
        out
    }
}

/// Writes the character of a `\u` escape; `text` begins with its four digits. Also reads the second escape of a surrogate pair.
/// Returns the remaining text.
fn unit<'a>(text: &'a [u8], half: UnpairedSurrogate, out: &mut Vec<u8>) -> &'a [u8] {
    let (first, rest) = (hex(text).unwrap_or(0xfffd), text.get(4..).unwrap_or_default());
    let second = rest.strip_prefix(b"\\u").and_then(hex);
    let (code, rest) = match (first, second) {
        (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
            (0x1_0000 + ((u32::from(first) - 0xd800) << 10) + (u32::from(second) - 0xdc00), &rest[6..])
        }
        _ => (u32::from(first), rest),
    };
    match (char::from_u32(code), half) {
        (Some(character), _) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        (None, UnpairedSurrogate::Replace) => out.extend_from_slice("\u{fffd}".as_bytes()),
        (None, UnpairedSurrogate::Keep) => {
            let [high, low] = first.to_be_bytes();
            out.extend_from_slice(&[0xed, 0x80 | (high & 0x0f) << 2 | low >> 6, 0x80 | low & 0x3f]);
        }
    }
    rest
}

/// The value of four hexadecimal digits.
pub(super) fn hex(text: &[u8]) -> Option<u16> {
    let digits = text.get(..4)?;
    digits.iter().try_fold(0, |number: u16, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(number << 4 | u16::try_from(digit).ok()?)
    })
}

/// The number of bytes at the start that need no escape: up to a quotation mark, a backslash or a control character. Examines
/// eight bytes at a time.
pub(super) fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // The highest bit of each byte that is zero, from the lowest byte to the first such byte: what is above it may be wrong.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = controls | zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20);
    at + bytes[at..].iter().position(is_special).unwrap_or(bytes.len() - at)
}

/// Appends a string with its quotation marks. An unpaired surrogate in `bytes` is written as the escape that [`JsonText::bytes`]
/// decodes; other invalid UTF-8 is written as U+FFFD.
pub(crate) fn write_text(mut bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    loop {
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                escape(text.as_bytes(), out);
                break;
            }
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                escape(valid, out);
                let used = match unpaired_surrogate(rest) {
                    Some(half) => {
                        out.extend_from_slice(format!("\\u{half:04x}").as_bytes());
                        3
                    }
                    None => {
                        out.extend_from_slice("\u{fffd}".as_bytes());
                        error.error_len().unwrap_or(rest.len())
                    }
                };
                bytes = &rest[used..];
            }
        }
    }
    out.push(b'"');
}

/// Decodes UTF-8; an unpaired surrogate, and other invalid UTF-8, becomes U+FFFD.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    let Err(error) = std::str::from_utf8(bytes) else { return String::from_utf8_lossy(bytes) };
    let (mut text, mut rest, mut error) = (String::new(), bytes, Some(error));
    while let Some(found) = error {
        let (valid, behind) = rest.split_at(found.valid_up_to());
        text.push_str(&String::from_utf8_lossy(valid));
        text.push('\u{fffd}');
        let used = unpaired_surrogate(behind).map_or(found.error_len().unwrap_or(behind.len()), |_| 3);
        rest = &behind[used..];
        error = std::str::from_utf8(rest).err();
    }
    text.push_str(&String::from_utf8_lossy(rest));
    Cow::Owned(text)
}

/// The unpaired surrogate at the start, encoded as three bytes.
fn unpaired_surrogate(bytes: &[u8]) -> Option<u16> {
    match *bytes.first_chunk::<3>()? {
        [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf] => {
            Some(0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f))
        }
        _ => None,
    }
}

/// Appends the characters of a string, escaped if necessary.
fn escape(mut text: &[u8], out: &mut Vec<u8>) {
    loop {
        let (plain, rest) = text.split_at(plain_bytes(text));
        out.extend_from_slice(plain);
        let Some((special, rest)) = rest.split_first() else { return };
        match special {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *special]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        text = rest;
    }
}

#[cfg(test)]
mod tests;
