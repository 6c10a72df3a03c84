//! What an ack carries beside its status: members of a group, claims of a client.

use rmp::encode;

use super::message::Claims;
use crate::msgpack::reader::{Reader, Token};

const INFALLIBLE: &str = "a vector takes every byte";

/// The payload of the ack that answers [`super::Message::GroupMemberQuery`]: `[[[connectionId, userId], ...], continuationToken]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupMembers<'a> {
    /// Connections with their users.
    pub members: Vec<(&'a str, Option<&'a str>)>,
    /// Where to go on; absent when these were the last ones.
    pub continuation_token: Option<&'a str>,
}

impl<'a> GroupMembers<'a> {
    /// The payload.
    ///
    /// # Panics
    ///
    /// With 2^32 members or more.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        encode::write_array_len(&mut out, 2).expect(INFALLIBLE);
        let count = u32::try_from(self.members.len()).expect("an answer is a page of members");
        encode::write_array_len(&mut out, count).expect(INFALLIBLE);
        for (connection, user) in &self.members {
            encode::write_array_len(&mut out, 2).expect(INFALLIBLE);
            encode::write_str(&mut out, connection).expect(INFALLIBLE);
            optional_text(*user, &mut out);
        }
        optional_text(self.continuation_token, &mut out);
        out
    }

    /// Reads a payload. `None` if it is none.
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let (Token::Array(2..), Token::Array(count)) = (reader.token().ok()?, reader.token().ok()?) else {
            return None;
        };
        let mut members = Vec::new();
        for _ in 0..count {
            let Token::Array(2) = reader.token().ok()? else { return None };
            let connection = read_optional(&mut reader)??;
            members.push((connection, read_optional(&mut reader)?));
        }
        Some(Self { members, continuation_token: read_optional(&mut reader)? })
    }
}

/// The payload of the acks that answer [`super::Message::RefreshAuth`] and [`super::Message::GetConnectionClaims`]: a map of types to
/// values, in which a type may stand several times, or nil where there are none.
///
/// # Panics
///
/// With 2^32 claims or more.
pub fn claims_payload(claims: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    if claims.is_empty() {
        encode::write_nil(&mut out).expect(INFALLIBLE);
        return out;
    }
    let count = u32::try_from(claims.len()).expect("a token has far fewer claims");
    encode::write_map_len(&mut out, count).expect(INFALLIBLE);
    for (kind, value) in claims {
        encode::write_str(&mut out, kind).expect(INFALLIBLE);
        encode::write_str(&mut out, value).expect(INFALLIBLE);
    }
    out
}

/// Reads what [`claims_payload`] wrote. `None` if it is something else.
pub fn parse_claims_payload(payload: &[u8]) -> Option<Claims<'_>> {
    let mut reader = Reader::new(payload);
    let count = match reader.token().ok()? {
        Token::Nil => 0,
        Token::Map(count) => count,
        _ => return None,
    };
    let mut claims = Vec::new();
    for _ in 0..count {
        claims.push((read_optional(&mut reader)??, read_optional(&mut reader)??));
    }
    Some(claims)
}

fn optional_text(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => encode::write_str(out, text).expect(INFALLIBLE),
        None => encode::write_nil(out).expect(INFALLIBLE),
    }
}

fn read_optional<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a str>> {
    match reader.token().ok()? {
        Token::Nil => Some(None),
        Token::Text(text) => std::str::from_utf8(text).ok().map(Some),
        _ => None,
    }
}
