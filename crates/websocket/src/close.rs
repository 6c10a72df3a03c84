//! Close codes and the body of a close frame (sections 5.5.1 and 7.4).

use crate::Violation;

/// Why a WebSocket connection ends, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

/// What a close frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// The code; absent where the frame was empty.
    pub code: Option<CloseCode>,
    /// The reason, for people.
    pub reason: &'a str,
}

impl CloseCode {
    /// 1000: done.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the endpoint goes away.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the rules of framing.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1007: a text message is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the peer broke a rule that has no code of its own.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message is larger than allowed.
    pub const TOO_BIG: Self = Self(1009);
    /// 1011: something unforeseen on our side.
    pub const INTERNAL_ERROR: Self = Self(1011);

    /// Takes a code that may stand in a frame. Codes such as 1005 and 1006 exist only in programs (section 7.4.1), and
    /// what is below 3000 and not registered may not be used (section 7.4.2).
    pub fn new(code: u16) -> Option<Self> {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999).then_some(Self(code))
    }

    /// The number.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl<'a> Close<'a> {
    /// Reads the body of a close frame.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Violation> {
        match body {
            [] => Ok(Self { code: None, reason: "" }),
            [_] => Err(Violation::CloseBody),
            [high, low, reason @ ..] => {
                let code = CloseCode::new(u16::from_be_bytes([*high, *low])).ok_or(Violation::CloseBody)?;
                let reason = simdutf8::basic::from_utf8(reason).map_err(|_| Violation::Utf8)?;
                Ok(Self { code: Some(code), reason })
            }
        }
    }
}
