//! [`FieldReader`]: reads the fields of a message in order.

use super::error::ServiceParseError;
use super::message::{ClientHeaders, DataMessageType, Extensions, Payloads, ServiceClaims, UnixTime};
use crate::msgpack::reader::{MsgpackReader, MsgpackToken};
use crate::transcode::timestamp;

/// The remaining fields of a message.
pub(super) struct FieldReader<'a> {
    reader: MsgpackReader<'a>,
    left: u32,
}

impl<'a> FieldReader<'a> {
    /// Opens a message: its type and its fields.
    pub(super) fn open(payload: &'a [u8]) -> Result<(u64, Self), ServiceParseError> {
        let mut reader = MsgpackReader::new(payload);
        let count = reader.array().map_err(|error| ServiceParseError::Type(why(&error)))?;
        if count == 0 {
            return Err(ServiceParseError::Type("the array is empty"));
        }
        let kind = reader.unsigned().map_err(|error| ServiceParseError::Type(why(&error)))?;
        Ok((kind, Self { reader, left: count - 1 }))
    }

    /// Whether a field remains; if not, the sender is older than the field.
    pub(super) fn has_more(&self) -> bool {
        self.left > 0
    }

    /// The number of remaining fields.
    pub(super) fn left(&self) -> u32 {
        self.left
    }

    fn next(&mut self, field: &'static str) -> Result<MsgpackToken<'a>, ServiceParseError> {
        self.left = self.left.checked_sub(1).ok_or(ServiceParseError::Missing(field))?;
        self.token(field)
    }

    fn token(&mut self, field: &'static str) -> Result<MsgpackToken<'a>, ServiceParseError> {
        self.reader.token().map_err(|error| ServiceParseError::Field { field, why: why(&error) })
    }

    /// A required string.
    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, ServiceParseError> {
        text(field, &self.next(field)?)
    }

    /// A string or nil; `None` also if the sender is older than the field.
    pub(super) fn optional_text(
        &mut self,
        field: &'static str,
    ) -> Result<Option<&'a str>, ServiceParseError> {
        if !self.has_more() {
            return Ok(None);
        }
        optional_text(field, &self.next(field)?)
    }

    /// A number of 32 bits.
    pub(super) fn number(&mut self, field: &'static str) -> Result<i32, ServiceParseError> {
        number(field, &self.next(field)?)
    }

    /// A number or nil; `None` also if the sender is older than the field.
    pub(super) fn optional_number(&mut self, field: &'static str) -> Result<Option<i32>, ServiceParseError> {
        if !self.has_more() {
            return Ok(None);
        }
        match self.next(field)? {
            MsgpackToken::Nil => Ok(None),
            token => number(field, &token).map(Some),
        }
    }

    /// A boolean; `None` if the sender is older than the field.
    pub(super) fn flag(&mut self, field: &'static str) -> Result<Option<bool>, ServiceParseError> {
        if !self.has_more() {
            return Ok(None);
        }
        match self.next(field)? {
            MsgpackToken::Bool(value) => Ok(Some(value)),
            _ => Err(ServiceParseError::Field { field, why: "true or false is expected" }),
        }
    }

    /// Required bytes; nil counts as empty, as in the SDK.
    pub(super) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], ServiceParseError> {
        let token = self.next(field)?;
        Ok(optional_bytes(field, &token)?.unwrap_or_default())
    }

    /// Bytes or nil; `None` also if the sender is older than the field.
    pub(super) fn optional_bytes(
        &mut self,
        field: &'static str,
    ) -> Result<Option<&'a [u8]>, ServiceParseError> {
        if !self.has_more() {
            return Ok(None);
        }
        let token = self.next(field)?;
        optional_bytes(field, &token)
    }

    /// A list of strings; empty if it is nil or the sender is older than the field.
    pub(super) fn texts(&mut self, field: &'static str) -> Result<Vec<&'a str>, ServiceParseError> {
        if !self.has_more() {
            return Ok(Vec::new());
        }
        match self.next(field)? {
            MsgpackToken::Nil => Ok(Vec::new()),
            MsgpackToken::Array(count) => self.texts_of(count, field),
            _ => Err(ServiceParseError::Field { field, why: "a list is expected" }),
        }
    }

    /// Allocates no capacity in advance: the declared length cannot be trusted before the bytes are parsed.
    fn texts_of(&mut self, count: u32, field: &'static str) -> Result<Vec<&'a str>, ServiceParseError> {
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(text(field, &self.token(field)?)?);
        }
        Ok(texts)
    }

    /// All remaining fields, as strings; nil counts as an empty string.
    pub(super) fn rest(&mut self, field: &'static str) -> Result<Vec<&'a str>, ServiceParseError> {
        let mut texts = Vec::new();
        while self.has_more() {
            texts.push(optional_text(field, &self.next(field)?)?.unwrap_or_default());
        }
        Ok(texts)
    }

    /// The number of entries of the next field, a map; 0 if it is nil or missing.
    fn pairs(&mut self, field: &'static str) -> Result<u32, ServiceParseError> {
        if !self.has_more() {
            return Ok(0);
        }
        match self.next(field)? {
            MsgpackToken::Nil => Ok(0),
            MsgpackToken::Map(count) => Ok(count),
            _ => Err(ServiceParseError::Field { field, why: "a map is expected" }),
        }
    }

    pub(super) fn payloads(&mut self) -> Result<Payloads<'a>, ServiceParseError> {
        const FIELD: &str = "payloads";
        if !self.has_more() {
            return Err(ServiceParseError::Missing(FIELD));
        }
        let mut payloads = Vec::new();
        for _ in 0..self.pairs(FIELD)? {
            let name = text(FIELD, &self.token(FIELD)?)?;
            payloads.push((name, optional_bytes(FIELD, &self.token(FIELD)?)?.unwrap_or_default()));
        }
        Ok(payloads)
    }

    pub(super) fn claims(&mut self) -> Result<ServiceClaims<'a>, ServiceParseError> {
        const FIELD: &str = "claims";
        let mut claims = Vec::new();
        for _ in 0..self.pairs(FIELD)? {
            let kind = text(FIELD, &self.token(FIELD)?)?;
            claims.push((kind, optional_text(FIELD, &self.token(FIELD)?)?.unwrap_or_default()));
        }
        Ok(claims)
    }

    pub(super) fn headers(&mut self) -> Result<ClientHeaders<'a>, ServiceParseError> {
        const FIELD: &str = "headers";
        let mut headers = Vec::new();
        for _ in 0..self.pairs(FIELD)? {
            let name = text(FIELD, &self.token(FIELD)?)?;
            let MsgpackToken::Array(count) = self.token(FIELD)? else {
                return Err(ServiceParseError::Field {
                    field: FIELD,
                    why: "the value of a header is a list",
                });
            };
            headers.push((name, self.texts_of(count, FIELD)?));
        }
        Ok(headers)
    }

    pub(super) fn extensions(&mut self) -> Result<Extensions<'a>, ServiceParseError> {
        const FIELD: &str = "extensionMembers";
        let mut extensions = Extensions::default();
        for _ in 0..self.pairs(FIELD)? {
            match self.token(FIELD)? {
                MsgpackToken::Unsigned(1) => extensions.tracing_id = Some(self.unsigned("tracingId")?),
                MsgpackToken::Unsigned(2) => extensions.ttl = Some(number("ttl", &self.token("ttl")?)?),
                MsgpackToken::Unsigned(3) => {
                    extensions.protocol = optional_text("protocol", &self.token("protocol")?)?;
                }
                MsgpackToken::Unsigned(4) => {
                    extensions.filter = optional_text("filter", &self.token("filter")?)?;
                }
                MsgpackToken::Unsigned(5) => {
                    const TYPE: &str = "dataMessageType";
                    extensions.data_message_type = DataMessageType::from(number(TYPE, &self.token(TYPE)?)?);
                }
                MsgpackToken::Unsigned(6) => match self.token("isPartial")? {
                    MsgpackToken::Bool(value) => extensions.is_partial = value,
                    _ => {
                        return Err(ServiceParseError::Field {
                            field: "isPartial",
                            why: "true or false is expected",
                        });
                    }
                },
                // A member of a newer version.
                MsgpackToken::Unsigned(_) | MsgpackToken::Signed(_) => {
                    self.reader
                        .raw()
                        .map_err(|error| ServiceParseError::Field { field: FIELD, why: why(&error) })?;
                }
                _ => return Err(ServiceParseError::Field { field: FIELD, why: "a key is a whole number" }),
            }
        }
        Ok(extensions)
    }

    fn unsigned(&mut self, field: &'static str) -> Result<u64, ServiceParseError> {
        match self.token(field)? {
            MsgpackToken::Unsigned(value) => Ok(value),
            _ => Err(ServiceParseError::Field { field, why: "a whole number is expected" }),
        }
    }

    /// A time. Early SDKs write ticks, later ones a MessagePack timestamp.
    pub(super) fn time(&mut self, field: &'static str) -> Result<Option<UnixTime>, ServiceParseError> {
        match self.next(field)? {
            MsgpackToken::Nil => Ok(None),
            MsgpackToken::Unsigned(ticks) => UnixTime::from_ticks(ticks)
                .map(Some)
                .ok_or(ServiceParseError::Field { field, why: "it is later than any date" }),
            MsgpackToken::Extension(-1, bytes) => {
                timestamp(bytes).map(|(seconds, nanoseconds)| Some(UnixTime { seconds, nanoseconds })).ok_or(
                    ServiceParseError::Field { field, why: "it is not a date between the years 1 and 9999" },
                )
            }
            _ => Err(ServiceParseError::Field { field, why: "a date is expected" }),
        }
    }
}

fn text<'a>(field: &'static str, token: &MsgpackToken<'a>) -> Result<&'a str, ServiceParseError> {
    match token {
        MsgpackToken::Text(text) => std::str::from_utf8(text)
            .map_err(|_| ServiceParseError::Field { field, why: "a string is not UTF-8" }),
        _ => Err(ServiceParseError::Field { field, why: "a string is expected" }),
    }
}

fn optional_text<'a>(
    field: &'static str,
    token: &MsgpackToken<'a>,
) -> Result<Option<&'a str>, ServiceParseError> {
    match token {
        MsgpackToken::Nil => Ok(None),
        token => text(field, token).map(Some),
    }
}

fn optional_bytes<'a>(
    field: &'static str,
    token: &MsgpackToken<'a>,
) -> Result<Option<&'a [u8]>, ServiceParseError> {
    match token {
        MsgpackToken::Nil => Ok(None),
        MsgpackToken::Binary(bytes) => Ok(Some(bytes)),
        _ => Err(ServiceParseError::Field { field, why: "bytes are expected" }),
    }
}

fn number(field: &'static str, token: &MsgpackToken<'_>) -> Result<i32, ServiceParseError> {
    let number = match *token {
        MsgpackToken::Unsigned(number) => i32::try_from(number).ok(),
        MsgpackToken::Signed(number) => i32::try_from(number).ok(),
        _ => None,
    };
    number.ok_or(ServiceParseError::Field { field, why: "a whole number of 32 bits is expected" })
}

/// The text of the MessagePack reader, without the sentence about hub messages.
fn why(error: &crate::parse_error::ParseError) -> &'static str {
    match error {
        crate::parse_error::ParseError::MessagePack(why) => why,
        _ => unreachable!("the reader of MessagePack returns no other error"),
    }
}
