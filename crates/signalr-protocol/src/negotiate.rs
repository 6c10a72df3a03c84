//! The negotiate response: the available transports and the connection id ("Transport Protocols").

use serde::Serialize;

use crate::hub_protocol::TransferFormat;

/// The newest supported version of negotiate.
pub const NEGOTIATE_VERSION_MAX: u8 = 1;

/// A transport of hub connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportType {
    /// WebSockets, text and binary.
    WebSockets,
    /// Server-Sent Events, text only.
    ServerSentEvents,
    /// Long polling, text and binary.
    LongPolling,
}

/// The response to a negotiate request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NegotiateResponse {
    /// Version 0: the connection id is also the connection token.
    V0 {
        /// The `id` in requests of the transports.
        connection_id: String,
        /// In order of preference.
        transports: Vec<TransportType>,
    },
    /// Version 1: a public connection id and a secret connection token.
    V1 {
        /// Identifies the connection to others.
        connection_id: String,
        /// The `id` in requests of the transports; known only to the client.
        connection_token: String,
        /// In order of preference.
        transports: Vec<TransportType>,
        /// Whether stateful reconnect is possible; only for clients that requested it.
        stateful: bool,
        /// The lifetime of the access token, in seconds, if it can be refreshed during the connection.
        token_lifetime_s: Option<u64>,
    },
    /// The client stops with this error text.
    Error(String),
}

/// Why the requested version of negotiate is not supported. Respond with status 200 and [`NegotiateResponse::Error`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiateError {
    /// The version is not a whole number.
    #[error("the negotiateVersion '{0}' is not a whole number")]
    NotANumber(String),
    /// The version is older than this server allows.
    #[error("the negotiateVersion {requested} is older than {least}, the oldest that this server supports")]
    TooOld {
        /// The requested version.
        requested: i64,
        /// The oldest version allowed.
        least: u8,
    },
}

/// The version of the response: a missing version counts as 0, a newer one as [`NEGOTIATE_VERSION_MAX`]; `least` is the oldest
/// supported version.
///
/// # Errors
///
/// If the version is invalid or too old.
pub fn negotiate_version(requested: Option<&str>, least: u8) -> Result<u8, NegotiateError> {
    let requested = requested.unwrap_or("0");
    let number: i64 = requested
        .trim()
        .parse()
        .map_err(|_| NegotiateError::NotANumber(requested.chars().take(32).collect()))?;
    if number < i64::from(least) {
        return Err(NegotiateError::TooOld { requested: number, least });
    }
    Ok(u8::try_from(number).unwrap_or(u8::MAX).min(NEGOTIATE_VERSION_MAX))
}

impl TransportType {
    /// The name in negotiate responses.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSockets => "WebSockets",
            Self::ServerSentEvents => "ServerSentEvents",
            Self::LongPolling => "LongPolling",
        }
    }

    /// The transfer formats that it supports.
    pub fn transfer_formats(self) -> &'static [TransferFormat] {
        match self {
            Self::WebSockets | Self::LongPolling => &[TransferFormat::Text, TransferFormat::Binary],
            Self::ServerSentEvents => &[TransferFormat::Text],
        }
    }
}

impl NegotiateResponse {
    /// The body, `application/json`.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            negotiate_version: u8,
            connection_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            connection_token: Option<&'a str>,
            available_transports: Vec<Available>,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            use_stateful_reconnect: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            token_lifetime_seconds: Option<u64>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Available {
            transport: &'static str,
            transfer_formats: Vec<&'static str>,
        }
        let available = |transports: &[TransportType]| {
            let format = |format: &TransferFormat| match format {
                TransferFormat::Text => "Text",
                TransferFormat::Binary => "Binary",
            };
            let describe = |transport: &TransportType| Available {
                transport: transport.name(),
                transfer_formats: transport.transfer_formats().iter().map(format).collect(),
            };
            transports.iter().map(describe).collect()
        };
        let body = match self {
            Self::Error(error) => return serde_json::json!({ "error": error }).to_string(),
            Self::V0 { connection_id, transports } => Body {
                negotiate_version: 0,
                connection_id,
                connection_token: None,
                available_transports: available(transports),
                use_stateful_reconnect: false,
                token_lifetime_seconds: None,
            },
            Self::V1 { connection_id, connection_token, transports, stateful, token_lifetime_s } => Body {
                negotiate_version: 1,
                connection_id,
                connection_token: Some(connection_token),
                available_transports: available(transports),
                use_stateful_reconnect: *stateful,
                token_lifetime_seconds: *token_lifetime_s,
            },
        };
        serde_json::to_string(&body).expect("text and numbers are always JSON")
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(requested: Option<&str>, expected: &Expect) {
        let outcome = negotiate_version(requested, 0);
        expected.assert_eq(
            &outcome.map_or_else(|error| error.to_string(), |version| format!("version {version}")),
        );
    }

    #[test]
    fn a_newer_version_is_clamped_and_an_older_one_rejected() {
        check(None, &expect!["version 0"]);
        check(Some("0"), &expect!["version 0"]);
        check(Some("1"), &expect!["version 1"]);
        check(Some("99"), &expect!["version 1"]);
        check(Some("x"), &expect!["the negotiateVersion 'x' is not a whole number"]);
        check(Some(""), &expect!["the negotiateVersion '' is not a whole number"]);
        check(
            Some("-1"),
            &expect!["the negotiateVersion -1 is older than 0, the oldest that this server supports"],
        );
        assert_eq!(negotiate_version(None, 1), Err(NegotiateError::TooOld { requested: 0, least: 1 }));
    }

    #[test]
    fn responses_have_the_properties_of_their_version() {
        let (connection_id, connection_token) = ("public".to_owned(), "secret".to_owned());
        let transports =
            vec![TransportType::WebSockets, TransportType::ServerSentEvents, TransportType::LongPolling];
        let v1 = |stateful, token_lifetime_s| NegotiateResponse::V1 {
            connection_id: connection_id.clone(),
            connection_token: connection_token.clone(),
            transports: transports.clone(),
            stateful,
            token_lifetime_s,
        };
        let more = r#","useStatefulReconnect":true,"tokenLifetimeSeconds":60}"#;
        assert!(v1(true, Some(60)).to_json().ends_with(more));
        let v1 = v1(false, None);
        expect![[r#"{"negotiateVersion":1,"connectionId":"public","connectionToken":"secret","availableTransports":[{"transport":"WebSockets","transferFormats":["Text","Binary"]},{"transport":"ServerSentEvents","transferFormats":["Text"]},{"transport":"LongPolling","transferFormats":["Text","Binary"]}]}"#]]
            .assert_eq(&v1.to_json());
        let v0 = NegotiateResponse::V0 { connection_id, transports: vec![TransportType::WebSockets] };
        expect![[r#"{"negotiateVersion":0,"connectionId":"public","availableTransports":[{"transport":"WebSockets","transferFormats":["Text","Binary"]}]}"#]]
            .assert_eq(&v0.to_json());
        expect![[r#"{"error":"no"}"#]].assert_eq(&NegotiateResponse::Error("no".to_owned()).to_json());
    }
}
