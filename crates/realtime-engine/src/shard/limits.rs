//! Options that are replaced while the shard runs.

use super::Shard;
use super::due::Timeouts;
use super::index::HubPolicy;
use crate::Options;
use crate::limits::Rates;

impl Shard {
    /// Replaces limits and timeouts. Everything that is derived from options and may change is derived again here; the read buffer and
    /// the length of a tick are not. Open connections use the new timeouts from their next check, at most one old ping interval later.
    pub(super) fn set_options(&mut self, options: &Options) {
        if options.limits_idle_time() && !self.settings.options.limits_idle_time() {
            // The time of the last message was not recorded so far.
            for (_, connection) in &mut self.connections {
                connection.rare_or_new().last_message_at = self.now;
            }
        }
        self.settings.options = options.clone();
        self.connection_rates = Rates::of_connection(options);
        self.user_rates = Rates::of_user(options);
        self.default_policy = HubPolicy::of_all(options);
        self.timeouts = Timeouts::of(options, &self.deadlines);
        self.index.set_options(options);
    }
}
