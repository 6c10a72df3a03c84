//! [`Handshake`]: the handshake of a server connection. Pure.

use signalr_protocol::service::{self, Message, ServerConnectionType};

use super::request::shortened;

/// The error of a connection that starts with another message.
pub(crate) const NO_HANDSHAKE: &str = "the first message of a server connection must be a HandshakeRequest";

/// The content of an accepted handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub(crate) connection_type: ServerConnectionType,
    /// Clients may migrate to another app server when the connection is lost.
    pub(crate) migrates_on_loss: bool,
    /// The SDK ignores unknown messages and extensions.
    pub(crate) is_recent_sdk: bool,
    /// Clients may use stateful reconnect.
    pub(crate) stateful: bool,
}

/// Reads the first message of a server connection. The error is for the app server.
pub(crate) fn parse_handshake(
    message: &Message<'_>,
    instance: &str,
    clients_allowed: bool,
) -> Result<Handshake, String> {
    let Message::HandshakeRequest(request) = message else {
        return Err(NO_HANDSHAKE.to_owned());
    };
    let version = request.version;
    if version != service::VERSION {
        return Err(format!(
            "version {version} of the service protocol is not supported; use version {}",
            service::VERSION
        ));
    }
    match request.connection_type {
        ServerConnectionType::Default | ServerConnectionType::OnDemand if !clients_allowed => {
            return Err("the service runs in Serverless mode, where app servers carry no clients; set its mode to 'default' or 'classic', or \
                        connect with the persistent transport of the management SDK"
                .to_owned());
        }
        ServerConnectionType::OnDemand if request.target.is_some_and(|target| target != instance) => {
            let target = shortened(request.target.unwrap_or_default());
            return Err(format!("the service instance '{target}' does not exist; it has ended or restarted"));
        }
        ServerConnectionType::Default | ServerConnectionType::OnDemand | ServerConnectionType::Weak => {}
        ServerConnectionType::Other(number) => {
            return Err(format!("unknown connection type {number}; use 0, 1 or 2"));
        }
    }
    Ok(Handshake {
        connection_type: request.connection_type,
        migrates_on_loss: request.migration_level >= 2,
        is_recent_sdk: request.allow_stateful_reconnects.is_some(),
        stateful: request.allow_stateful_reconnects == Some(true),
    })
}

#[cfg(test)]
mod tests {
    use signalr_protocol::service::{Extensions, ServiceHandshakeRequest};

    use super::*;

    #[test]
    fn handshakes_are_accepted_or_rejected_with_a_reason() {
        let check = |version, connection_type, target, state, clients_allowed, expected: &str| {
            let request = Message::HandshakeRequest(ServiceHandshakeRequest {
                version,
                connection_type,
                target,
                migration_level: 1,
                extensions: Extensions::default(),
                allow_stateful_reconnects: state,
            });
            let shown = match parse_handshake(&request, "node-0", clients_allowed) {
                Ok(Handshake { connection_type, is_recent_sdk, stateful, migrates_on_loss }) => {
                    format!("{connection_type:?} {is_recent_sdk} {stateful} {migrates_on_loss}")
                }
                Err(why) => why,
            };
            assert_eq!(shown, expected);
        };
        use ServerConnectionType::{Default, OnDemand, Other, Weak};
        check(1, Default, None, None, true, "Default false false false");
        check(1, OnDemand, Some("node-0"), Some(true), true, "OnDemand true true false");
        check(1, Weak, None, Some(false), false, "Weak true false false");
        check(
            2,
            Default,
            None,
            None,
            true,
            "version 2 of the service protocol is not supported; use version 1",
        );
        check(1, Other(7), None, None, true, "unknown connection type 7; use 0, 1 or 2");
        check(
            1,
            OnDemand,
            Some("x"),
            None,
            true,
            "the service instance 'x' does not exist; it has ended or restarted",
        );
        check(
            1,
            Default,
            None,
            None,
            false,
            "the service runs in Serverless mode, where app servers carry no clients; set its mode to 'default' or 'classic', or connect with the persistent transport of the management SDK",
        );
        let first = parse_handshake(&Message::Ping { messages: vec![] }, "node-0", true).unwrap_err();
        assert_eq!(first, "the first message of a server connection must be a HandshakeRequest");
    }
}
