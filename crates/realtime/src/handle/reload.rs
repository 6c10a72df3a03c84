//! Options that change while the service runs.

use std::sync::Arc;

use super::Handle;
use crate::options::{Options, OptionsError};
use crate::upstream;

impl Handle {
    /// Checks changed options; awaiting what is returned applies them: account keys, templates of upstreams, limits of connections and of
    /// REST requests. `options` must differ from those of the start in options that are documented as reloadable only. Connections stay
    /// open, also those whose token was signed with a key that is no longer accepted.
    ///
    /// # Errors
    ///
    /// If a key or a template cannot be used; nothing is changed.
    pub fn prepare_options(
        &self,
        options: &Options,
    ) -> Result<impl Future<Output = ()> + Send + 'static + use<>, OptionsError> {
        options.check()?;
        let shared = Arc::clone(&self.shared);
        let keys = shared.keys.prepare(options)?;
        let templates = upstream::load(&options.upstream)?;
        let current = shared.options();
        let options = Options { development_keys: current.development_keys, ..options.clone() };
        Ok(async move {
            if let Some(keys) = keys {
                shared.keys.configure(keys).await;
            }
            shared.dispatcher.set_templates(templates);
            if shared.engine.set_options(&options.engine).await.is_err() {
                tracing::debug!("the service is shutting down, so its options stay as they are");
            }
            shared.set_options(options);
        })
    }
}
