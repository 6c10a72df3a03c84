//! [`CloseBody`]: the body of a close frame (section 5.5.1).

use crate::close_code::CloseCode;
use crate::violation::Violation;

/// The body of a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseBody<'a> {
    /// The status code; `None` if the body is empty.
    pub code: Option<CloseCode>,
    /// The reason, for people.
    pub reason: &'a str,
}

impl<'a> CloseBody<'a> {
    /// Parses the body of a close frame.
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
