//! Where in the configuration something is, and what is said about it.

use std::fmt;

/// A place in the configuration: file, entry and property.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OcelotLocation {
    /// The name of the file.
    pub file: String,
    /// The entry, such as `Routes[3] (/orders/{id})`; empty for the file as a whole.
    pub entry: String,
    /// The property, with its parents: `RateLimitOptions.Period`; empty for the entry as a whole.
    pub property: String,
}

impl OcelotLocation {
    pub(crate) fn new(file: &str, entry: impl Into<String>) -> Self {
        Self { file: file.to_owned(), entry: entry.into(), property: String::new() }
    }

    pub(crate) fn at(&self, property: &str) -> Self {
        Self { property: property.to_owned(), ..self.clone() }
    }
}

impl fmt::Display for OcelotLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        for part in [&self.entry, &self.property] {
            if !part.is_empty() {
                write!(formatter, ": {part}")?;
            }
        }
        Ok(())
    }
}

/// Why the configuration cannot be used. Ocelot does not start with it either, or not without a defect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {text}")]
pub struct OcelotProblem {
    /// Where it is.
    pub location: OcelotLocation,
    /// What is wrong, and what to write instead.
    pub text: String,
}

/// Something that the reader should know; the configuration can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OcelotNotice {
    /// A property that Ocelot does not have. It is kept and has no effect.
    Unknown(OcelotLocation),
    /// A property with an old name.
    Old {
        /// Where it is.
        location: OcelotLocation,
        /// The name that replaced it.
        current: &'static str,
    },
    /// A property whose policy is not enforced yet.
    NotEnforced(OcelotLocation),
    /// A value that has no effect, and why.
    NoEffect {
        /// Where it is.
        location: OcelotLocation,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for OcelotNotice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(location) => write!(formatter, "{location}: unknown property; it has no effect"),
            Self::Old { location, current } => {
                write!(formatter, "{location}: old name of {current}; it is read, but write {current}")
            }
            Self::NotEnforced(location) => write!(formatter, "{location}: this policy is not enforced yet"),
            Self::NoEffect { location, reason } => write!(formatter, "{location}: no effect: {reason}"),
        }
    }
}
