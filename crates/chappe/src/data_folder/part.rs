//! [`Part`]: what a data folder holds, by what is lost with it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A part of the data folder that holds what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// Kept messages, connection events.
    Journal,
    /// Users' groups, function keys, positions of triggers, leases.
    Registry,
    /// Databases, containers and items.
    Documents,
    /// Account keys that were made on first start.
    Keys,
}

/// A text that names no part.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no part of a data folder; the parts are journal, registry, documents and keys")]
pub(crate) struct UnknownPart(String);

impl Part {
    pub(crate) const ALL: [Self; 4] = [Self::Journal, Self::Registry, Self::Documents, Self::Keys];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Registry => "registry",
            Self::Documents => "documents",
            Self::Keys => "keys",
        }
    }

    /// What is lost with it, for people.
    pub(super) const fn holds(self) -> &'static str {
        match self {
            Self::Journal => "kept messages and connection events",
            Self::Registry => {
                "function keys, users' groups, positions of triggers and the list of kept messages"
            }
            Self::Documents => "databases, containers and items",
            Self::Keys => "the account keys that clients use",
        }
    }

    /// Files that are there whenever the part is.
    pub(super) const fn witnesses(self) -> &'static [&'static str] {
        match self {
            Self::Journal => &["state/format", "state/journal"],
            Self::Registry => &["state/format", "state/registry.sqlite"],
            Self::Documents => &["documents/documents.sqlite"],
            Self::Keys => &["keys.json"],
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Part {
    type Err = UnknownPart;

    fn from_str(text: &str) -> Result<Self, UnknownPart> {
        let found = Self::ALL.into_iter().find(|part| part.name() == text);
        found.ok_or_else(|| UnknownPart(text.to_owned()))
    }
}
