//! Reads JSON out of a text, borrowing from it, by the grammar of RFC 8259 and nothing more: halves of surrogate pairs and numbers
//! beyond every floating point number are JSON, and what only passes through need not mean anything here. Never panics and never
//! recurses, whatever the text is.

use std::borrow::Cow;

/// Why a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    what: &'static str,
    at: usize,
}

/// What is left to read.
#[derive(Debug, Clone)]
pub struct JsonReader<'a> {
    text: &'a str,
    at: usize,
    deepest: usize,
}

/// One value; of a container, only its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonToken<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is written.
    Number(&'a str),
    /// A string.
    Text(JsonText<'a>),
    /// Elements follow, up to the end that [`JsonReader::element`] finds.
    Array,
    /// Members follow, up to the end that [`JsonReader::member`] finds.
    Object,
}

/// A string, as it is written between its quotation marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonText<'a> {
    raw: &'a str,
    has_escapes: bool,
}

/// What becomes of a half of a surrogate pair, which no UTF-8 text can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    /// Its three bytes, as encoders that do not check write it.
    Kept,
    /// U+FFFD.
    Replaced,
}

/// Which containers are open: one bit each, so that only nesting beyond 64 levels takes memory.
#[derive(Debug, Default)]
struct Nesting {
    bits: u64,
    full: Vec<u64>,
    depth: usize,
}

impl JsonError {
    pub(crate) const NOT_UTF8: Self = Self { what: "there is a byte that is not UTF-8", at: 0 };
}

impl<'a> JsonReader<'a> {
    /// Reads a text from its beginning.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, deepest: 0 }
    }

    /// How deep the values nested that were stepped over.
    pub fn deepest(&self) -> usize {
        self.deepest
    }

    /// The next value: whole, unless it is an array or an object.
    ///
    /// # Errors
    ///
    /// If none begins here.
    pub fn token(&mut self) -> Result<JsonToken<'a>, JsonError> {
        self.skip_space();
        let begin = self.at;
        match self.byte() {
            Some(b'"') => self.rest_of_text().map(JsonToken::Text),
            Some(b'[') => Ok(JsonToken::Array),
            Some(b'{') => Ok(JsonToken::Object),
            Some(b'-' | b'0'..=b'9') => self.rest_of_number(begin).map(JsonToken::Number),
            Some(b'n') => self.rest_of_word("ull").map(|()| JsonToken::Null),
            Some(b't') => self.rest_of_word("rue").map(|()| JsonToken::Bool(true)),
            Some(b'f') => self.rest_of_word("alse").map(|()| JsonToken::Bool(false)),
            _ => Err(JsonError { what: "a value is expected", at: begin }),
        }
    }

    /// Whether another element of an array follows; `is_first` from its beginning to its first element.
    ///
    /// # Errors
    ///
    /// If neither another one nor the end follows.
    pub fn element(&mut self, is_first: bool) -> Result<bool, JsonError> {
        self.follows(is_first, b']', "a comma or the end of the array is expected")
    }

    /// The name of the next member of an object; `None` at its end. `is_first` as for [`JsonReader::element`].
    ///
    /// # Errors
    ///
    /// If neither another one nor the end follows.
    pub fn member(&mut self, is_first: bool) -> Result<Option<JsonText<'a>>, JsonError> {
        if self.follows(is_first, b'}', "a comma or the end of the object is expected")? {
            self.name().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Steps over one whole value and gives it as it is written, without the space around it.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn raw(&mut self) -> Result<&'a str, JsonError> {
        self.skip_space();
        let begin = self.at;
        let mut open = Nesting::default();
        loop {
            match self.token()? {
                JsonToken::Array if self.element(true)? => {
                    self.open(&mut open, false);
                    continue;
                }
                JsonToken::Object => {
                    if self.member(true)?.is_some() {
                        self.open(&mut open, true);
                        continue;
                    }
                    self.deepest = self.deepest.max(open.depth + 1);
                }
                JsonToken::Array => self.deepest = self.deepest.max(open.depth + 1),
                _ => {}
            }
            // A value has ended, and with it perhaps the containers around it.
            loop {
                let goes_on = match open.innermost_is_object() {
                    None => return Ok(&self.text[begin..self.at]),
                    Some(true) => self.member(false)?.is_some(),
                    Some(false) => self.element(false)?,
                };
                if goes_on {
                    break;
                }
                open.pop();
            }
        }
    }

    /// Checks that nothing but space is left.
    ///
    /// # Errors
    ///
    /// If something is.
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.error("the end is expected")) }
    }

    fn open(&mut self, open: &mut Nesting, is_object: bool) {
        open.push(is_object);
        self.deepest = self.deepest.max(open.depth);
    }

    fn name(&mut self) -> Result<JsonText<'a>, JsonError> {
        self.skip_space();
        if self.byte() != Some(b'"') {
            self.at = self.at.saturating_sub(1);
            return Err(self.error("the name of a member is expected"));
        }
        let name = self.rest_of_text()?;
        self.skip_space();
        if self.byte() == Some(b':') { Ok(name) } else { Err(self.error("a colon is expected")) }
    }

    fn follows(&mut self, is_first: bool, end: u8, expected: &'static str) -> Result<bool, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            Some(_) if is_first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.error(expected)),
        }
    }

    fn rest_of_word(&mut self, rest: &str) -> Result<(), JsonError> {
        if self.text.as_bytes()[self.at..].starts_with(rest.as_bytes()) {
            self.at += rest.len();
            Ok(())
        } else {
            Err(self.error("a value is expected"))
        }
    }

    fn rest_of_number(&mut self, begin: usize) -> Result<&'a str, JsonError> {
        self.at = begin;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[begin..self.at])
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        let begin = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > begin { Ok(()) } else { Err(self.error("a digit is expected")) }
    }

    fn rest_of_text(&mut self) -> Result<JsonText<'a>, JsonError> {
        let (begin, bytes) = (self.at, self.text.as_bytes());
        let mut has_escapes = false;
        loop {
            self.at += plain_bytes(&bytes[self.at..]);
            match self.byte() {
                Some(b'"') => return Ok(JsonText { raw: &self.text[begin..self.at - 1], has_escapes }),
                Some(b'\\') => {
                    has_escapes = true;
                    self.rest_of_escape()?;
                }
                Some(_) => return Err(self.error("a control character stands in a string")),
                None => return Err(self.error("a string does not end")),
            }
        }
    }

    fn rest_of_escape(&mut self) -> Result<(), JsonError> {
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') if hex(&self.text.as_bytes()[self.at..]).is_some() => {
                self.at += 4;
                Ok(())
            }
            _ => Err(self.error("an escape is none")),
        }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn error(&self, what: &'static str) -> JsonError {
        JsonError { what, at: self.at }
    }
}

impl<'a> JsonText<'a> {
    /// The string. A half of a surrogate pair becomes U+FFFD, as a Rust string cannot hold it.
    pub fn lossy(self) -> Cow<'a, str> {
        if !self.has_escapes {
            return Cow::Borrowed(self.raw);
        }
        // Everything but halves of pairs is UTF-8, and those are replaced.
        let bytes = self.decoded(Half::Replaced);
        Cow::Owned(
            String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        )
    }

    /// The bytes of the string in UTF-8, but for halves of surrogate pairs, which have three bytes each, as JavaScript's encoders of
    /// MessagePack write them.
    pub fn bytes(self) -> Cow<'a, [u8]> {
        if self.has_escapes {
            Cow::Owned(self.decoded(Half::Kept))
        } else {
            Cow::Borrowed(self.raw.as_bytes())
        }
    }

    fn decoded(self, half: Half) -> Vec<u8> {
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

/// Writes the character whose four digits begin the text, and the second half of it if it has one. Gives what is left.
fn unit<'a>(text: &'a [u8], half: Half, out: &mut Vec<u8>) -> &'a [u8] {
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
        (None, Half::Replaced) => out.extend_from_slice("\u{fffd}".as_bytes()),
        (None, Half::Kept) => {
            let [high, low] = first.to_be_bytes();
            out.extend_from_slice(&[0xed, 0x80 | (high & 0x0f) << 2 | low >> 6, 0x80 | low & 0x3f]);
        }
    }
    rest
}

/// The number that four hexadecimal digits say.
fn hex(text: &[u8]) -> Option<u16> {
    let digits = text.get(..4)?;
    digits.iter().try_fold(0, |number: u16, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(number << 4 | u16::try_from(digit).ok()?)
    })
}

/// How many bytes at the beginning stand for themselves in a string: up to a quotation mark, a backslash or a control character.
/// Looks at eight bytes at a time.
pub(crate) fn plain_bytes(bytes: &[u8]) -> usize {
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

/// Appends a string with its quotation marks. The bytes are UTF-8, or nearly: halves of surrogate pairs are written as the escapes
/// from which [`JsonText::bytes`] makes them, and other bytes that are not UTF-8 as U+FFFD.
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
                let used = match half_of_pair(rest) {
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

/// The text that bytes are, where a Rust string is needed: a half of a surrogate pair, and whatever else is not UTF-8, becomes U+FFFD.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    let Err(error) = std::str::from_utf8(bytes) else { return String::from_utf8_lossy(bytes) };
    let (mut text, mut rest, mut error) = (String::new(), bytes, Some(error));
    while let Some(found) = error {
        let (valid, behind) = rest.split_at(found.valid_up_to());
        text.push_str(&String::from_utf8_lossy(valid));
        text.push('\u{fffd}');
        let used = half_of_pair(behind).map_or(found.error_len().unwrap_or(behind.len()), |_| 3);
        rest = &behind[used..];
        error = std::str::from_utf8(rest).err();
    }
    text.push_str(&String::from_utf8_lossy(rest));
    Cow::Owned(text)
}

/// The half of a surrogate pair that three bytes at the beginning are.
fn half_of_pair(bytes: &[u8]) -> Option<u16> {
    match *bytes.first_chunk::<3>()? {
        [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf] => {
            Some(0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f))
        }
        _ => None,
    }
}

/// Appends the characters of a string, escaped where they must be.
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

impl Nesting {
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.full.push(self.bits);
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth = self.depth.saturating_sub(1);
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.bits = self.full.pop().unwrap_or_default();
        }
    }

    fn innermost_is_object(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}

#[cfg(test)]
mod tests;
