//! Keys for app servers that log in at a login provider: they sign client tokens with a key, and request the next one over a server
//! connection.

use signalr_protocol::service::{Extensions, Message};

use crate::error_table;
use crate::login::Purpose;
use crate::rejection::Rejection;
use crate::servers::server_connection::ServerConnection;
use crate::servers::shared::Servers;
use crate::unix_time::unix_now;

impl Servers {
    /// Responds with a key or an error. The token in the request decides, however the connection was authorized.
    pub(super) async fn issue_key(&self, server: &ServerConnection, token: Option<&str>) {
        match self.key_for(token.unwrap_or_default()).await {
            Ok(key) => server.send_queue.push(&Message::AccessKeyResponse {
                kid: Some(&key.id),
                access_key: Some(key.key.expose()),
                error_type: None,
                error_message: None,
                extensions: Extensions::default(),
            }),
            Err(Rejection { error, message, .. }) => {
                tracing::warn!(server = %server.server_id, code = error.code, %message, "the key request of an app server was rejected");
                server.send_queue.push(&Message::AccessKeyResponse {
                    kid: None,
                    access_key: None,
                    error_type: Some(error.code),
                    error_message: Some(&message),
                    extensions: Extensions::default(),
                });
            }
        }
    }

    async fn key_for(&self, token: &str) -> Result<identity::DynamicKey, Rejection> {
        let Some(logins) = &self.0.services.logins else {
            let message =
                "no login provider is configured; set openid, or use an AccessKey in the connection string";
            return Err(Rejection::new(&error_table::NO_LOGIN_PROVIDER, message));
        };
        let now = unix_now();
        logins.verify(token, Purpose::Serve, now, &self.0.token_rules).await?;
        let key = self.0.services.keys.issue(now).await;
        key.map_err(|error| Rejection::store_failed(&error))
    }
}
