//! The payload of an ack: members of a group, claims of a client.

use rmp::encode;

use super::message::ServiceClaims;
use crate::msgpack::reader::{MsgpackReader, MsgpackToken};

const INFALLIBLE: &str = "writing to a vector cannot fail";

/// The payload of the ack for [`super::Message::GroupMemberQuery`]: `[[[connectionId, userId], ...], continuationToken]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupMembers<'a> {
    /// Connection ids with their user ids.
    pub members: Vec<(&'a str, Option<&'a str>)>,
    /// Continues the list; `None` after the last page.
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
        let count = u32::try_from(self.members.len()).expect("a page has fewer members");
        encode::write_array_len(&mut out, count).expect(INFALLIBLE);
        for (connection, user) in &self.members {
            encode::write_array_len(&mut out, 2).expect(INFALLIBLE);
            encode::write_str(&mut out, connection).expect(INFALLIBLE);
            optional_text(*user, &mut out);
        }
        optional_text(self.continuation_token, &mut out);
        out
    }

    /// Parses a payload; `None` if it is invalid.
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let mut reader = MsgpackReader::new(payload);
        let (MsgpackToken::Array(2..), MsgpackToken::Array(count)) =
            (reader.token().ok()?, reader.token().ok()?)
        else {
            return None;
        };
        let mut members = Vec::new();
        for _ in 0..count {
            let MsgpackToken::Array(2) = reader.token().ok()? else { return None };
            let connection = read_optional(&mut reader)??;
            members.push((connection, read_optional(&mut reader)?));
        }
        Some(Self { members, continuation_token: read_optional(&mut reader)? })
    }
}

/// The payload of the acks for [`super::Message::RefreshAuth`] and [`super::Message::GetConnectionClaims`]: a map from claim type to
/// value, which may contain a type several times, or nil if there are no claims.
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

/// Parses a payload of [`claims_payload`]; `None` if it is invalid.
pub fn parse_claims_payload(payload: &[u8]) -> Option<ServiceClaims<'_>> {
    let mut reader = MsgpackReader::new(payload);
    let count = match reader.token().ok()? {
        MsgpackToken::Nil => 0,
        MsgpackToken::Map(count) => count,
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

fn read_optional<'a>(reader: &mut MsgpackReader<'a>) -> Option<Option<&'a str>> {
    match reader.token().ok()? {
        MsgpackToken::Nil => Some(None),
        MsgpackToken::Text(text) => std::str::from_utf8(text).ok().map(Some),
        _ => None,
    }
}
