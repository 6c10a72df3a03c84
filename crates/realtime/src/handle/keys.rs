//! The account keys, for callers in this process and for the admin API.

use http::{Request, Response};
use http_messages::Body;

use super::Handle;
use crate::service::answer_key_rotation;
use crate::store::keys::{AccountKeys, KeyError, KeyRotation};

impl Handle {
    /// Changes the account keys while the service runs: tokens of a key that is replaced are refused from then on, connections that
    /// they opened live on. What was changed is kept on disk; a configuration of keys that changes later counts again.
    ///
    /// # Errors
    ///
    /// If a key is one that the emulators publish and those are not accepted, or the keys cannot be kept on disk.
    pub async fn rotate_keys(&self, rotation: KeyRotation) -> Result<AccountKeys, KeyError> {
        self.shared.keys.rotate(rotation).await
    }

    /// Answers a request to change the account keys, for the admin API of the program around. The caller proves itself with a token
    /// for the request's address that a present account key has signed, as for a REST operation. The body is JSON:
    /// `{"renew": ["primary", "secondary"], "primary": "<key>", "secondary": "<key>"}`, everything optional; the answer has both keys.
    pub async fn answer_key_rotation(&self, request: Request<Body>) -> Response<Body> {
        answer_key_rotation(&self.shared, request).await
    }
}
