//! The negotiate answer: which transports there are and under which id a connection will be made ("Transport Protocols").

use serde::Serialize;

use crate::TransferFormat;

/// The newest version of negotiate that we speak.
pub const NEGOTIATE_VERSION_MAX: u8 = 1;

/// How a client may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// WebSockets, text and binary.
    WebSockets,
    /// Server-Sent Events, text only.
    ServerSentEvents,
    /// Long polling, text and binary.
    LongPolling,
}

/// What a client is told. [`NegotiateAnswer::to_json`] writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NegotiateAnswer {
    /// Version 0: one id, public and secret at once.
    V0 {
        /// The `id` on the transports.
        connection_id: String,
        /// In the order in which clients are to try them.
        transports: Vec<Transport>,
    },
    /// Version 1: a public id and a secret token.
    V1 {
        /// By which others address the connection.
        connection_id: String,
        /// The `id` on the transports; only the client knows it.
        connection_token: String,
        /// In the order in which clients are to try them.
        transports: Vec<Transport>,
        /// Whether a lost WebSocket may be replaced; said only to clients that asked for it.
        stateful: bool,
        /// How long the token lasts, in seconds, where it can be replaced while the connection lives.
        token_lifetime_s: Option<u64>,
    },
    /// The client is to stop and show this text.
    Error(String),
}

/// The answer of an app that sends its clients on to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Where to negotiate next; the client inserts `/negotiate` into its path.
    pub url: String,
    /// The bearer token for it.
    pub access_token: String,
}

/// Why the wanted version of negotiate cannot be served. Answered with status 200 and [`NegotiateAnswer::Error`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiateError {
    /// The version is not a whole number.
    #[error("the negotiateVersion '{0}' is not a whole number")]
    NotANumber(String),
    /// The version is older than this server allows.
    #[error("the negotiateVersion {wanted} is older than {least}, the oldest that this server supports")]
    TooOld {
        /// What the client asked for.
        wanted: i64,
        /// The oldest version allowed.
        least: u8,
    },
}

/// The version to answer with: absent counts as 0, more than [`NEGOTIATE_VERSION_MAX`] as that; `least` is the server's minimum.
pub fn negotiate_version(wanted: Option<&str>, least: u8) -> Result<u8, NegotiateError> {
    let wanted = wanted.unwrap_or("0");
    let number: i64 =
        wanted.trim().parse().map_err(|_| NegotiateError::NotANumber(wanted.chars().take(32).collect()))?;
    if number < i64::from(least) {
        return Err(NegotiateError::TooOld { wanted: number, least });
    }
    Ok(u8::try_from(number).unwrap_or(u8::MAX).min(NEGOTIATE_VERSION_MAX))
}

impl Transport {
    /// The name in negotiate answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSockets => "WebSockets",
            Self::ServerSentEvents => "ServerSentEvents",
            Self::LongPolling => "LongPolling",
        }
    }

    /// What it can carry.
    pub fn transfer_formats(self) -> &'static [TransferFormat] {
        match self {
            Self::WebSockets | Self::LongPolling => &[TransferFormat::Text, TransferFormat::Binary],
            Self::ServerSentEvents => &[TransferFormat::Text],
        }
    }
}

impl NegotiateAnswer {
    /// The body, `application/json`.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
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
        let available = |transports: &[Transport]| {
            let format = |format: &TransferFormat| match format {
                TransferFormat::Text => "Text",
                TransferFormat::Binary => "Binary",
            };
            let describe = |transport: &Transport| Available {
                transport: transport.name(),
                transfer_formats: transport.transfer_formats().iter().map(format).collect(),
            };
            transports.iter().map(describe).collect()
        };
        let wire = match self {
            Self::Error(error) => return serde_json::json!({ "error": error }).to_string(),
            Self::V0 { connection_id, transports } => Wire {
                negotiate_version: 0,
                connection_id,
                connection_token: None,
                available_transports: available(transports),
                use_stateful_reconnect: false,
                token_lifetime_seconds: None,
            },
            Self::V1 { connection_id, connection_token, transports, stateful, token_lifetime_s } => Wire {
                negotiate_version: 1,
                connection_id,
                connection_token: Some(connection_token),
                available_transports: available(transports),
                use_stateful_reconnect: *stateful,
                token_lifetime_seconds: *token_lifetime_s,
            },
        };
        serde_json::to_string(&wire).expect("text and numbers are always JSON")
    }
}

impl Redirect {
    /// The body, `application/json`. The transports are empty but present: old clients fail without the property.
    pub fn to_json(&self) -> String {
        let Self { url, access_token } = self;
        serde_json::json!({ "url": url, "accessToken": access_token, "availableTransports": [] }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(wanted: Option<&str>, expected: &Expect) {
        let outcome = negotiate_version(wanted, 0);
        expected.assert_eq(
            &outcome.map_or_else(|error| error.to_string(), |version| format!("version {version}")),
        );
    }

    #[test]
    fn the_version_is_clamped_from_above_only() {
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
        assert_eq!(negotiate_version(None, 1), Err(NegotiateError::TooOld { wanted: 0, least: 1 }));
    }

    #[test]
    fn answers_have_the_fields_of_their_version() {
        let (connection_id, connection_token) = ("public".to_owned(), "secret".to_owned());
        let transports = vec![Transport::WebSockets, Transport::ServerSentEvents, Transport::LongPolling];
        let v1 = |stateful, token_lifetime_s| NegotiateAnswer::V1 {
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
        let v0 = NegotiateAnswer::V0 { connection_id, transports: vec![Transport::WebSockets] };
        expect![[r#"{"negotiateVersion":0,"connectionId":"public","availableTransports":[{"transport":"WebSockets","transferFormats":["Text","Binary"]}]}"#]]
            .assert_eq(&v0.to_json());
        expect![[r#"{"error":"no"}"#]].assert_eq(&NegotiateAnswer::Error("no".to_owned()).to_json());
        let redirect =
            Redirect { url: "http://host/client/?hub=chat".to_owned(), access_token: "t".to_owned() };
        expect![[r#"{"url":"http://host/client/?hub=chat","accessToken":"t","availableTransports":[]}"#]]
            .assert_eq(&redirect.to_json());
    }
}
