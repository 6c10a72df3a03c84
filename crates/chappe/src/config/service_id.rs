//! [`ServiceId`]: which service of the process.

use std::fmt;

/// A service of this process: the section that configures it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServiceId {
    /// The section, such as `realtime`.
    pub(crate) service: &'static str,
}

impl ServiceId {
    /// The option that says where it listens.
    pub(crate) fn listen_option(&self) -> String {
        format!("listen.{}", self.service)
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.service)
    }
}
