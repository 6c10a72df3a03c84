//! [`MsgpackReader`]: reads MessagePack from a slice and borrows from it. Never panics and never recurses.

use std::borrow::Cow;

use rmp::Marker;

use crate::json::text::lossy;
use crate::parse_error::ParseError;

/// The bytes not yet read.
#[derive(Debug, Clone)]
pub(crate) struct MsgpackReader<'a> {
    rest: &'a [u8],
}

/// One value; of a container, only its header.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MsgpackToken<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    /// A negative number.
    Signed(i64),
    F32(f32),
    F64(f64),
    /// A string. It should be UTF-8, but JavaScript's encoders also write unpaired surrogates, which are forwarded unchanged.
    Text(&'a [u8]),
    Binary(&'a [u8]),
    /// An array with this number of elements; they follow.
    Array(u32),
    /// A map with this number of entries; they follow.
    Map(u32),
    Extension(i8, &'a [u8]),
}

impl<'a> MsgpackReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not yet read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn token(&mut self) -> Result<MsgpackToken<'a>, ParseError> {
        let marker = Marker::from_u8(self.fixed::<1>()?[0]);
        Ok(match marker {
            Marker::Null => MsgpackToken::Nil,
            Marker::True => MsgpackToken::Bool(true),
            Marker::False => MsgpackToken::Bool(false),
            Marker::FixPos(number) => MsgpackToken::Unsigned(number.into()),
            Marker::FixNeg(number) => signed(number.into()),
            Marker::U8 => MsgpackToken::Unsigned(u8::from_be_bytes(self.fixed()?).into()),
            Marker::U16 => MsgpackToken::Unsigned(u16::from_be_bytes(self.fixed()?).into()),
            Marker::U32 => MsgpackToken::Unsigned(u32::from_be_bytes(self.fixed()?).into()),
            Marker::U64 => MsgpackToken::Unsigned(u64::from_be_bytes(self.fixed()?)),
            Marker::I8 => signed(i8::from_be_bytes(self.fixed()?).into()),
            Marker::I16 => signed(i16::from_be_bytes(self.fixed()?).into()),
            Marker::I32 => signed(i32::from_be_bytes(self.fixed()?).into()),
            Marker::I64 => signed(i64::from_be_bytes(self.fixed()?)),
            Marker::F32 => MsgpackToken::F32(f32::from_be_bytes(self.fixed()?)),
            Marker::F64 => MsgpackToken::F64(f64::from_be_bytes(self.fixed()?)),
            Marker::FixStr(length) => self.text(length.into())?,
            Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                let length = self.length(marker)?;
                self.text(length)?
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                let length = self.length(marker)?;
                MsgpackToken::Binary(self.bytes(length)?)
            }
            Marker::FixArray(count) => MsgpackToken::Array(count.into()),
            Marker::Array16 | Marker::Array32 => MsgpackToken::Array(self.length(marker)?),
            Marker::FixMap(count) => MsgpackToken::Map(count.into()),
            Marker::Map16 | Marker::Map32 => MsgpackToken::Map(self.length(marker)?),
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 | Marker::Ext16 | Marker::Ext32 => {
                let length = self.length(marker)?;
                self.extension(length)?
            }
            Marker::Reserved => return Err(ParseError::MessagePack("the byte 0xc1 begins no value")),
        })
    }

    /// Skips one value, including its elements; returns its bytes.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], ParseError> {
        let before = self.rest;
        let mut outstanding = 1u64;
        while outstanding > 0 {
            // Each value takes at least one of the remaining bytes, which bounds the loop.
            outstanding -= 1;
            outstanding += match self.token()? {
                MsgpackToken::Array(count) => u64::from(count),
                MsgpackToken::Map(count) => 2 * u64::from(count),
                _ => 0,
            };
            if outstanding > self.rest.len() as u64 {
                return Err(TRUNCATED);
            }
        }
        Ok(&before[..before.len() - self.rest.len()])
    }

    /// The header of an array.
    pub(crate) fn array(&mut self) -> Result<u32, ParseError> {
        match self.token()? {
            MsgpackToken::Array(count) => Ok(count),
            _ => Err(ParseError::MessagePack("an array is expected")),
        }
    }

    /// A whole number.
    pub(crate) fn unsigned(&mut self) -> Result<u64, ParseError> {
        match self.token()? {
            MsgpackToken::Unsigned(number) => Ok(number),
            _ => Err(ParseError::MessagePack("a whole number is expected")),
        }
    }

    /// A string; invalid UTF-8 becomes U+FFFD.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, ParseError> {
        self.optional_string()?.ok_or(ParseError::MessagePack("a string is expected"))
    }

    /// A string, as [`MsgpackReader::string`], or nil.
    pub(crate) fn optional_string(&mut self) -> Result<Option<Cow<'a, str>>, ParseError> {
        match self.token()? {
            MsgpackToken::Text(text) => Ok(Some(lossy(text))),
            MsgpackToken::Nil => Ok(None),
            _ => Err(ParseError::MessagePack("a string is expected")),
        }
    }

    fn text(&mut self, length: u32) -> Result<MsgpackToken<'a>, ParseError> {
        self.bytes(length).map(MsgpackToken::Text)
    }

    fn extension(&mut self, length: u32) -> Result<MsgpackToken<'a>, ParseError> {
        let kind = i8::from_be_bytes(self.fixed()?);
        Ok(MsgpackToken::Extension(kind, self.bytes(length)?))
    }

    fn length(&mut self, marker: Marker) -> Result<u32, ParseError> {
        Ok(match marker {
            Marker::Str8 | Marker::Bin8 | Marker::Ext8 => u8::from_be_bytes(self.fixed()?).into(),
            Marker::Str16 | Marker::Bin16 | Marker::Ext16 | Marker::Array16 | Marker::Map16 => {
                u16::from_be_bytes(self.fixed()?).into()
            }
            _ => u32::from_be_bytes(self.fixed()?),
        })
    }

    fn bytes(&mut self, length: u32) -> Result<&'a [u8], ParseError> {
        let length = usize::try_from(length).map_err(|_| TRUNCATED)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

const TRUNCATED: ParseError = ParseError::MessagePack("it ends in the middle of a value");

fn signed(number: i64) -> MsgpackToken<'static> {
    u64::try_from(number).map_or(MsgpackToken::Signed(number), MsgpackToken::Unsigned)
}
