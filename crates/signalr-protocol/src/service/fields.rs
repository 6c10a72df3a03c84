//! [`Fields`]: reads the fields of one message in their order.

use super::ParseError;
use super::message::{Claims, DataMessageType, Extensions, Headers, Payloads, UnixTime};
use crate::msgpack::reader::{Reader, Token};
use crate::transcode::timestamp;

/// What is left of a message.
pub(super) struct Fields<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> Fields<'a> {
    /// Opens a message: its type and its fields.
    pub(super) fn open(payload: &'a [u8]) -> Result<(u64, Self), ParseError> {
        let mut reader = Reader::new(payload);
        let head = reader.array().map_err(|error| ParseError::Type(why(&error)))?;
        if head == 0 {
            return Err(ParseError::Type("the array is empty"));
        }
        let kind = reader.unsigned().map_err(|error| ParseError::Type(why(&error)))?;
        Ok((kind, Self { reader, left: head - 1 }))
    }

    /// Whether a field is left; where not, the sender was older than the field.
    pub(super) fn has_more(&self) -> bool {
        self.left > 0
    }

    /// The number of fields that are left.
    pub(super) fn left(&self) -> u32 {
        self.left
    }

    fn next(&mut self, field: &'static str) -> Result<Token<'a>, ParseError> {
        self.left = self.left.checked_sub(1).ok_or(ParseError::Missing(field))?;
        self.token(field)
    }

    fn token(&mut self, field: &'static str) -> Result<Token<'a>, ParseError> {
        self.reader.token().map_err(|error| ParseError::Field { field, why: why(&error) })
    }

    /// A text that must be there.
    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, ParseError> {
        text(field, &self.next(field)?)
    }

    /// A text or nil; nil also where the sender is too old to know the field.
    pub(super) fn optional_text(&mut self, field: &'static str) -> Result<Option<&'a str>, ParseError> {
        if !self.has_more() {
            return Ok(None);
        }
        optional_text(field, &self.next(field)?)
    }

    /// A number of 32 bits.
    pub(super) fn number(&mut self, field: &'static str) -> Result<i32, ParseError> {
        number(field, &self.next(field)?)
    }

    /// A number or nil; nil also where the sender is too old to know the field.
    pub(super) fn optional_number(&mut self, field: &'static str) -> Result<Option<i32>, ParseError> {
        if !self.has_more() {
            return Ok(None);
        }
        match self.next(field)? {
            Token::Nil => Ok(None),
            token => number(field, &token).map(Some),
        }
    }

    /// Yes or no; nothing where the sender is too old to know the field.
    pub(super) fn flag(&mut self, field: &'static str) -> Result<Option<bool>, ParseError> {
        if !self.has_more() {
            return Ok(None);
        }
        match self.next(field)? {
            Token::Bool(value) => Ok(Some(value)),
            _ => Err(ParseError::Field { field, why: "true or false is expected" }),
        }
    }

    /// Bytes that must be there; nil counts as none, as in the SDK.
    pub(super) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], ParseError> {
        let token = self.next(field)?;
        Ok(optional_bytes(field, &token)?.unwrap_or_default())
    }

    /// Bytes or nil; nil also where the sender is too old to know the field.
    pub(super) fn optional_bytes(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, ParseError> {
        if !self.has_more() {
            return Ok(None);
        }
        let token = self.next(field)?;
        optional_bytes(field, &token)
    }

    /// A list of texts; nil, and a field that the sender does not know, count as an empty one.
    pub(super) fn texts(&mut self, field: &'static str) -> Result<Vec<&'a str>, ParseError> {
        if !self.has_more() {
            return Ok(Vec::new());
        }
        match self.next(field)? {
            Token::Nil => Ok(Vec::new()),
            Token::Array(count) => self.texts_of(count, field),
            _ => Err(ParseError::Field { field, why: "a list is expected" }),
        }
    }

    /// Not collected with a capacity: what a length says is worth nothing until the bytes are there.
    fn texts_of(&mut self, count: u32, field: &'static str) -> Result<Vec<&'a str>, ParseError> {
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(text(field, &self.token(field)?)?);
        }
        Ok(texts)
    }

    /// Everything that is left, as texts; nil counts as an empty one.
    pub(super) fn rest(&mut self, field: &'static str) -> Result<Vec<&'a str>, ParseError> {
        let mut texts = Vec::new();
        while self.has_more() {
            texts.push(optional_text(field, &self.next(field)?)?.unwrap_or_default());
        }
        Ok(texts)
    }

    /// How many pairs the next field, a map, has; none where it is nil or missing.
    fn pairs(&mut self, field: &'static str) -> Result<u32, ParseError> {
        if !self.has_more() {
            return Ok(0);
        }
        match self.next(field)? {
            Token::Nil => Ok(0),
            Token::Map(count) => Ok(count),
            _ => Err(ParseError::Field { field, why: "a map is expected" }),
        }
    }

    pub(super) fn payloads(&mut self) -> Result<Payloads<'a>, ParseError> {
        const FIELD: &str = "payloads";
        if !self.has_more() {
            return Err(ParseError::Missing(FIELD));
        }
        let mut payloads = Vec::new();
        for _ in 0..self.pairs(FIELD)? {
            let name = text(FIELD, &self.token(FIELD)?)?;
            payloads.push((name, optional_bytes(FIELD, &self.token(FIELD)?)?.unwrap_or_default()));
        }
        Ok(payloads)
    }

    pub(super) fn claims(&mut self) -> Result<Claims<'a>, ParseError> {
        const FIELD: &str = "claims";
        let mut claims = Vec::new();
        for _ in 0..self.pairs(FIELD)? {
            let kind = text(FIELD, &self.token(FIELD)?)?;
            claims.push((kind, optional_text(FIELD, &self.token(FIELD)?)?.unwrap_or_default()));
        }
        Ok(claims)
    }

    pub(super) fn headers(&mut self) -> Result<Headers<'a>, ParseError> {
        const FIELD: &str = "headers";
        let mut headers = Vec::new();
        for _ in 0..self.pairs(FIELD)? {
            let name = text(FIELD, &self.token(FIELD)?)?;
            let Token::Array(count) = self.token(FIELD)? else {
                return Err(ParseError::Field { field: FIELD, why: "the value of a header is a list" });
            };
            headers.push((name, self.texts_of(count, FIELD)?));
        }
        Ok(headers)
    }

    pub(super) fn extensions(&mut self) -> Result<Extensions<'a>, ParseError> {
        const FIELD: &str = "extensionMembers";
        let mut extensions = Extensions::default();
        for _ in 0..self.pairs(FIELD)? {
            match self.token(FIELD)? {
                Token::Unsigned(1) => extensions.tracing_id = Some(self.unsigned("tracingId")?),
                Token::Unsigned(2) => extensions.ttl = Some(number("ttl", &self.token("ttl")?)?),
                Token::Unsigned(3) => {
                    extensions.protocol = optional_text("protocol", &self.token("protocol")?)?;
                }
                Token::Unsigned(4) => extensions.filter = optional_text("filter", &self.token("filter")?)?,
                Token::Unsigned(5) => {
                    const TYPE: &str = "dataMessageType";
                    extensions.data_message_type = DataMessageType::from(number(TYPE, &self.token(TYPE)?)?);
                }
                Token::Unsigned(6) => match self.token("isPartial")? {
                    Token::Bool(value) => extensions.is_partial = value,
                    _ => {
                        return Err(ParseError::Field {
                            field: "isPartial",
                            why: "true or false is expected",
                        });
                    }
                },
                // A newer member.
                Token::Unsigned(_) | Token::Signed(_) => {
                    self.reader
                        .raw()
                        .map_err(|error| ParseError::Field { field: FIELD, why: why(&error) })?;
                }
                _ => return Err(ParseError::Field { field: FIELD, why: "a key is a whole number" }),
            }
        }
        Ok(extensions)
    }

    fn unsigned(&mut self, field: &'static str) -> Result<u64, ParseError> {
        match self.token(field)? {
            Token::Unsigned(value) => Ok(value),
            _ => Err(ParseError::Field { field, why: "a whole number is expected" }),
        }
    }

    /// A moment. Early SDKs write ticks, later ones the timestamp of MessagePack.
    pub(super) fn time(&mut self, field: &'static str) -> Result<Option<UnixTime>, ParseError> {
        match self.next(field)? {
            Token::Nil => Ok(None),
            Token::Unsigned(ticks) => UnixTime::from_ticks(ticks)
                .map(Some)
                .ok_or(ParseError::Field { field, why: "it is later than any date" }),
            Token::Extension(-1, bytes) => timestamp(bytes)
                .map(|(seconds, nanoseconds)| Some(UnixTime { seconds, nanoseconds }))
                .ok_or(ParseError::Field { field, why: "it is no date between the years 1 and 9999" }),
            _ => Err(ParseError::Field { field, why: "a date is expected" }),
        }
    }
}

fn text<'a>(field: &'static str, token: &Token<'a>) -> Result<&'a str, ParseError> {
    match token {
        Token::Text(text) => {
            std::str::from_utf8(text).map_err(|_| ParseError::Field { field, why: "a string is not UTF-8" })
        }
        _ => Err(ParseError::Field { field, why: "a text is expected" }),
    }
}

fn optional_text<'a>(field: &'static str, token: &Token<'a>) -> Result<Option<&'a str>, ParseError> {
    match token {
        Token::Nil => Ok(None),
        token => text(field, token).map(Some),
    }
}

fn optional_bytes<'a>(field: &'static str, token: &Token<'a>) -> Result<Option<&'a [u8]>, ParseError> {
    match token {
        Token::Nil => Ok(None),
        Token::Binary(bytes) => Ok(Some(bytes)),
        _ => Err(ParseError::Field { field, why: "bytes are expected" }),
    }
}

fn number(field: &'static str, token: &Token<'_>) -> Result<i32, ParseError> {
    let number = match *token {
        Token::Unsigned(number) => i32::try_from(number).ok(),
        Token::Signed(number) => i32::try_from(number).ok(),
        _ => None,
    };
    number.ok_or(ParseError::Field { field, why: "a whole number of 32 bits is expected" })
}

/// The reader's own words, without the sentence about hub messages around them.
fn why(error: &crate::ParseError) -> &'static str {
    match error {
        crate::ParseError::MessagePack(why) => why,
        _ => unreachable!("the reader of MessagePack speaks of MessagePack only"),
    }
}
