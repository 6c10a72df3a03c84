//! Parses the bodies with which an app refreshes the authentication of a connection or requests its claims (azure-signalr, issue
//! 2281).

use jiff::Timestamp;

use super::fields::{Fields, FieldsError, elements, json_text};
use super::message::invalid;
use crate::authentication::{NewClaims, Refresh};
use crate::error_table;
use crate::rejection::Rejection;

/// .NET's `DateTime.MaxValue`, which the SDK sends if the expiry does not change.
const NO_TIME: &str = "9999-12-31T23:59:59";

/// The connection, and its new expiry and claims.
#[derive(Debug, PartialEq)]
pub(crate) struct RefreshAuth {
    pub(crate) token: String,
    pub(crate) refresh: Refresh,
}

impl RefreshAuth {
    /// Parses `{connectionToken, expireTime?, claims?: [{type, value}]}`. A missing time or missing claims are left unchanged.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Rejection> {
        let fields = fields(body)?;
        let token = token(&fields)?;
        let expires_on = match fields.string("expireTime").map_err(malformed)? {
            Some(time) if !time.starts_with(NO_TIME) => Some(unix_s(&time)?),
            _ => None,
        };
        let claims = match fields.raw("claims") {
            Some(claims) => claims_of(claims).map_err(malformed)?,
            None => Vec::new(),
        };
        let claims = if claims.is_empty() { NewClaims::Keep } else { NewClaims::OfApp(claims) };
        Ok(Self { token, refresh: Refresh { claims, expires_on } })
    }
}

/// Parses `{connectionToken}`.
pub(crate) fn connection_token(body: &[u8]) -> Result<String, Rejection> {
    token(&fields(body)?)
}

fn fields(body: &[u8]) -> Result<Fields<'_>, Rejection> {
    json_text(body).and_then(Fields::parse).map_err(malformed)
}

fn malformed(error: FieldsError) -> Rejection {
    invalid(format!("the body is not {{\"connectionToken\": ...}}: {error}"))
}

fn token(fields: &Fields<'_>) -> Result<String, Rejection> {
    let token = fields.string("connectionToken").map_err(malformed)?.filter(|token| !token.is_empty());
    let missing = "the body has no connectionToken; it is in the response to negotiate version 1";
    let rejection =
        || Rejection::new(&error_table::MISSING_CONNECTION_TOKEN, missing).about("connectionToken");
    Ok(token.ok_or_else(rejection)?.into_owned())
}

/// A time in RFC 3339 as Unix seconds; a time before 1970 becomes 0, because it has passed too.
fn unix_s(time: &str) -> Result<u64, Rejection> {
    let time: Timestamp = time.parse().map_err(|_| {
        let message = "expireTime must be null or a time with its offset, such as 2030-01-01T12:00:00Z";
        Rejection::new(&error_table::INVALID_EXPIRE_TIME, message).about("expireTime")
    })?;
    Ok(u64::try_from(time.as_second()).unwrap_or(0))
}

fn claims_of(json: &str) -> Result<Vec<(String, String)>, FieldsError> {
    let wrong = || FieldsError::Field { name: "claims", expected: "an array of {type, value}, both strings" };
    let read = |claim: &str| {
        let fields = Fields::parse(claim).map_err(|_| wrong())?;
        let text = |name| fields.string(name).map_err(|_| wrong())?.ok_or_else(wrong);
        let (kind, value) = (text("type")?, text("value")?);
        if kind.is_empty() { Err(wrong()) } else { Ok((kind.into_owned(), value.into_owned())) }
    };
    elements(json).map_err(|_| wrong())?.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<RefreshAuth, String> {
        RefreshAuth::read(body.as_bytes()).map_err(|rejection| {
            format!("{} {}: {}", rejection.status.as_u16(), rejection.error.code, rejection.message)
        })
    }

    #[test]
    fn an_absent_or_null_or_maximal_value_is_left_unchanged() {
        let kept = RefreshAuth {
            token: "t".to_owned(),
            refresh: Refresh { claims: NewClaims::Keep, expires_on: None },
        };
        for body in [
            r#"{"connectionToken":"t"}"#,
            r#"{"ConnectionToken":"t","ExpireTime":null,"Claims":null}"#,
            r#"{"connectionToken":"t","expireTime":"9999-12-31T23:59:59.9999999+00:00","claims":[]}"#,
        ] {
            assert_eq!(read(body).as_ref(), Ok(&kept), "{body}");
        }
    }

    #[test]
    fn times_and_claims_are_parsed_in_both_formats_of_dot_net() {
        let body = r#"{"connectionToken":"t","expireTime":"2030-01-01T02:00:00.5+02:00",
            "claims":[{"type":"role","value":"a"},{"Value":"b","Type":"role"}]}"#;
        let claims = ["a", "b"].map(|value| ("role".to_owned(), value.to_owned())).to_vec();
        let refresh = Refresh { claims: NewClaims::OfApp(claims), expires_on: Some(1_893_456_000) };
        assert_eq!(read(body), Ok(RefreshAuth { token: "t".to_owned(), refresh }));
        let early = read(r#"{"connectionToken":"t","expireTime":"1960-01-01T00:00:00Z"}"#).unwrap();
        assert_eq!(early.refresh.expires_on, Some(0));
    }

    #[test]
    fn an_invalid_body_is_refused_with_its_error_code() {
        for (body, code) in [
            ("", "400 InvalidBody"),
            ("[]", "400 InvalidBody"),
            ("{}", "400 MissingConnectionToken"),
            (r#"{"connectionToken":""}"#, "400 MissingConnectionToken"),
            (r#"{"connectionToken":7}"#, "400 InvalidBody"),
            (r#"{"connectionToken":"t","expireTime":"soon"}"#, "400 InvalidExpireTime"),
            (r#"{"connectionToken":"t","expireTime":"2030-01-01T00:00:00"}"#, "400 InvalidExpireTime"),
            (r#"{"connectionToken":"t","expireTime":12}"#, "400 InvalidBody"),
            (r#"{"connectionToken":"t","claims":{"role":"a"}}"#, "400 InvalidBody"),
            (r#"{"connectionToken":"t","claims":[{"type":"role"}]}"#, "400 InvalidBody"),
            (r#"{"connectionToken":"t","claims":[{"type":"","value":""}]}"#, "400 InvalidBody"),
            (r#"{"connectionToken":"t","claims":[{"type":"a","value":1}]}"#, "400 InvalidBody"),
        ] {
            let refused = read(body).unwrap_err();
            assert!(refused.starts_with(code), "{body}: {refused}");
        }
    }
}
