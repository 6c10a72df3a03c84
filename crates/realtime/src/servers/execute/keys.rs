//! Keys for app servers that log in at a login provider: with one they sign their clients' tokens, and they ask for the next one over the
//! connection that they have.

use signalr_protocol::service::{Extensions, Message};

use crate::login::Purpose;
use crate::rejection::Rejection;
use crate::servers::Servers;
use crate::servers::link::Link;
use crate::unix_time::unix_now;

impl Servers {
    /// Answers with a key, or says why not. Whoever asks is as good as the token that it shows, whatever opened its connection.
    pub(super) async fn hand_out_key(&self, link: &Link, token: Option<&str>) {
        match self.key_for(token.unwrap_or_default()).await {
            Ok(key) => link.outbox.push(&Message::AccessKeyResponse {
                kid: Some(&key.id),
                access_key: Some(key.key.expose()),
                error_type: None,
                error_message: None,
                extensions: Extensions::default(),
            }),
            Err(Rejection { code, message, .. }) => {
                tracing::warn!(server = %link.server, code, %message, "an app server gets no key");
                link.outbox.push(&Message::AccessKeyResponse {
                    kid: None,
                    access_key: None,
                    error_type: Some(code),
                    error_message: Some(&message),
                    extensions: Extensions::default(),
                });
            }
        }
    }

    async fn key_for(&self, token: &str) -> Result<identity::DynamicKey, Rejection> {
        let Some(logins) = &self.0.powers.logins else {
            let message = "this service knows no login provider; connect with an AccessKey in the connection string, or configure openid";
            return Err(Rejection::unauthorized("NoLoginProvider", message));
        };
        let now = unix_now();
        logins.verify(token, Purpose::Serve, now, &self.0.token_rules).await?;
        let key = self.0.powers.keys.hand_out(now).await;
        key.map_err(|error| Rejection::store_failed(&error))
    }
}
