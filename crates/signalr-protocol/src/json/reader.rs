//! Reads JSON out of a text, borrowing from it, by the grammar of RFC 8259 and nothing more: halves of surrogate pairs and numbers
//! beyond every floating point number are JSON, and what only passes through need not mean anything here. Never panics and never
//! recurses, whatever the text is.

use super::text::{JsonText, hex, plain_bytes};

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
