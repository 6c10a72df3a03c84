//! Limits that are replaced while the shard runs.

use super::Shard;
use super::index::HubPolicy;
use crate::Options;
use crate::limits::Rates;

impl Shard {
    /// Replaces the limits of connections. Everything that is derived from options and may change is derived again here; timers and
    /// buffers are not.
    pub(super) fn set_options(&mut self, options: &Options) {
        self.settings.options = options.clone();
        self.connection_rates = Rates::of_connection(options);
        self.user_rates = Rates::of_user(options);
        self.default_policy = HubPolicy::of_all(options);
        self.index.set_options(options);
    }
}
