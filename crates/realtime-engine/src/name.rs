//! The names of receivers: [`Hub`], [`UserId`], [`GroupName`].

use std::fmt;
use std::sync::Arc;

use state::Instance;

/// A hub of one instance (account or namespace). An application prefix is part of the name, as in the protocol: `app_hub`. Names are
/// compared exactly; code that reads one from a request converts it to lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hub {
    instance: Instance,
    name: Arc<str>,
}

/// A user, as named by its token. One user may have many connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserId(Arc<str>);

/// A group of connections within a hub.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupName(Arc<str>);

impl Hub {
    /// The hub `name` of `instance`.
    pub fn new(instance: Instance, name: &str) -> Self {
        Self { instance, name: name.into() }
    }

    /// The account or namespace that the hub belongs to.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The name within the instance.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

macro_rules! text {
    ($name:ident) => {
        impl $name {
            /// Creates a name without a check.
            pub fn new(name: &str) -> Self {
                Self(name.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(UserId);
text!(GroupName);
