//! The account keys, for callers in this process and for the admin API.

use http::{Request, Response};
use http_messages::Body;

use super::Handle;
use crate::service::answer_key_rotation;
use crate::store::keys::{AccountKeys, KeyError, KeyRotation};

impl Handle {
    /// Changes the account keys while the service runs. Tokens signed with a replaced key are rejected from then on; their open
    /// connections continue. The change is stored on disk and lasts until the keys in the configuration change.
    ///
    /// # Errors
    ///
    /// If a key is one that the emulators publish and those are not accepted, or the keys cannot be stored on disk.
    pub async fn rotate_keys(&self, rotation: KeyRotation) -> Result<AccountKeys, KeyError> {
        self.shared.keys.rotate(rotation).await
    }

    /// Handles a request of the admin API to change the account keys. As for a REST operation, the caller needs a token for the
    /// request's URL, signed with a current account key. The body is JSON:
    /// `{"renew": ["primary", "secondary"], "primary": "<key>", "secondary": "<key>"}`, everything optional; the response has both keys.
    pub async fn answer_key_rotation(&self, request: Request<Body>) -> Response<Body> {
        answer_key_rotation(&self.shared, request).await
    }
}
