//! [`JsonReader`]: reads JSON from a text and borrows from it. Accepts exactly the grammar of RFC 8259, which includes unpaired
//! surrogates and numbers of any size: values that are only forwarded do not have to be representable here. Never panics and
//! never recurses.

use super::text::{JsonText, hex, plain_bytes};

/// Why a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    what: &'static str,
    at: usize,
}

/// The text not yet read.
#[derive(Debug, Clone)]
pub struct JsonReader<'a> {
    text: &'a str,
    at: usize,
    deepest: usize,
}

/// One value; of a container, only its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonToken<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as written.
    Number(&'a str),
    /// A string.
    Text(JsonText<'a>),
    /// Elements follow; read them with [`JsonReader::element`].
    Array,
    /// Members follow; read them with [`JsonReader::member`].
    Object,
}

/// The open containers: one bit each, so that only nesting beyond 64 levels needs memory.
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
    /// A reader at the start of a text.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, deepest: 0 }
    }

    /// The deepest nesting of the values that [`Self::raw`] skipped.
    pub fn deepest(&self) -> usize {
        self.deepest
    }

    /// The next scalar, or the start of an array or object.
    ///
    /// # Errors
    ///
    /// If there is no value.
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

    /// Whether another element of an array follows. `is_first`: no element has been read yet.
    ///
    /// # Errors
    ///
    /// If neither an element nor the end follows.
    pub fn element(&mut self, is_first: bool) -> Result<bool, JsonError> {
        self.follows(is_first, b']', "a comma or the end of the array is expected")
    }

    /// The name of the next member of an object; `None` at its end. `is_first` as for [`JsonReader::element`].
    ///
    /// # Errors
    ///
    /// If neither a member nor the end follows.
    pub fn member(&mut self, is_first: bool) -> Result<Option<JsonText<'a>>, JsonError> {
        if self.follows(is_first, b'}', "a comma or the end of the object is expected")? {
            self.name().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Skips one complete value; returns it as written, without the whitespace around it.
    ///
    /// # Errors
    ///
    /// If it is not a valid value.
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
            // A value is complete, and possibly the containers around it.
            loop {
                let continues = match open.innermost_is_object() {
                    None => return Ok(&self.text[begin..self.at]),
                    Some(true) => self.member(false)?.is_some(),
                    Some(false) => self.element(false)?,
                };
                if continues {
                    break;
                }
                open.pop();
            }
        }
    }

    /// Checks that only whitespace remains.
    ///
    /// # Errors
    ///
    /// If something else follows.
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
                Some(_) => return Err(self.error("a string contains a control character")),
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
            _ => Err(self.error("an escape sequence is invalid")),
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
