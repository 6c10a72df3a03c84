//! [`Hello`]: the handshake of a server connection. Pure.

use signalr_protocol::service::{self, Message, ServerConnectionType};

use super::from_protocol::shortened;

/// Why a connection is refused that begins with something else.
pub(crate) const NO_HANDSHAKE: &str = "the first message of a server connection is a ServiceHandshakeRequest";

/// What a connection's first message says, or why the connection is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) connection_type: ServerConnectionType,
    /// Clients may move to another server when the connection is lost without a word.
    pub(crate) moves_on_loss: bool,
    /// The SDK is new enough to step over what it does not know.
    pub(crate) modern: bool,
    /// Clients may reconnect statefully.
    pub(crate) stateful: bool,
}

/// Reads the handshake.
pub(crate) fn hello(message: &Message<'_>, instance: &str, clients_allowed: bool) -> Result<Hello, String> {
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
            return Err("this service runs in Serverless mode, where app servers carry no clients; set its mode to 'default' or 'classic', or \
                        connect with the persistent transport of the management SDK"
                .to_owned());
        }
        ServerConnectionType::OnDemand if request.target.is_some_and(|target| target != instance) => {
            let target = shortened(request.target.unwrap_or_default());
            return Err(format!("the instance '{target}' that asked for the connection is not here"));
        }
        ServerConnectionType::Default | ServerConnectionType::OnDemand | ServerConnectionType::Weak => {}
        ServerConnectionType::Other(number) => {
            return Err(format!("the connection type {number} is not known; use 0, 1 or 2"));
        }
    }
    Ok(Hello {
        connection_type: request.connection_type,
        moves_on_loss: request.migration_level >= 2,
        modern: request.allow_stateful_reconnects.is_some(),
        stateful: request.allow_stateful_reconnects == Some(true),
    })
}

#[cfg(test)]
mod tests {
    use signalr_protocol::service::{Extensions, ServiceHandshakeRequest};

    use super::*;

    #[test]
    fn handshakes_are_taken_or_refused_in_words() {
        let check = |version, connection_type, target, state, clients_allowed, expected: &str| {
            let request = Message::HandshakeRequest(ServiceHandshakeRequest {
                version,
                connection_type,
                target,
                migration_level: 1,
                extensions: Extensions::default(),
                allow_stateful_reconnects: state,
            });
            let shown = match hello(&request, "node-0", clients_allowed) {
                Ok(Hello { connection_type, modern, stateful, moves_on_loss }) => {
                    format!("{connection_type:?} {modern} {stateful} {moves_on_loss}")
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
        check(1, Other(7), None, None, true, "the connection type 7 is not known; use 0, 1 or 2");
        check(
            1,
            OnDemand,
            Some("x"),
            None,
            true,
            "the instance 'x' that asked for the connection is not here",
        );
        check(
            1,
            Default,
            None,
            None,
            false,
            "this service runs in Serverless mode, where app servers carry no clients; set its mode to 'default' or 'classic', or connect with the persistent transport of the management SDK",
        );
        let first = hello(&Message::Ping { messages: vec![] }, "node-0", true).unwrap_err();
        assert_eq!(first, "the first message of a server connection is a ServiceHandshakeRequest");
    }
}
