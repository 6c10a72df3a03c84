//! [`DataPart`]: the parts of a data folder, divided by what is lost with each.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A part of the data folder that contains acknowledged data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum DataPart {
    /// Message history, connection events.
    Journal,
    /// Users' groups, function keys, trigger positions, leases.
    Registry,
    /// Databases, containers and items of the default document service, or of the one with this name.
    Documents(Option<String>),
    /// Account keys generated on first start.
    Keys,
}

/// A text that does not name a part.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no part of a data folder; the parts are journal, registry, documents, documents.NAME (of [documents.NAME]) and keys"
)]
pub(crate) struct UnknownPart(String);

impl DataPart {
    /// What is lost with it, for display.
    pub(super) const fn holds(&self) -> &'static str {
        match self {
            Self::Journal => "kept messages and connection events",
            Self::Registry => {
                "function keys, users' groups, positions of triggers and the list of kept messages"
            }
            Self::Documents(_) => "databases, containers and items",
            Self::Keys => "the account keys that clients use",
        }
    }

    /// Files that exist whenever the part exists.
    pub(super) fn required_files(&self) -> Vec<PathBuf> {
        match self {
            Self::Journal => vec!["state/format".into(), "state/journal".into()],
            Self::Registry => vec!["state/format".into(), "state/registry.sqlite".into()],
            Self::Documents(name) => vec![documents_folder(name.as_deref()).join("documents.sqlite")],
            Self::Keys => vec!["keys.json".into()],
        }
    }
}

/// The path of a document service's database, relative to the data folder.
pub(crate) fn documents_folder(name: Option<&str>) -> PathBuf {
    name.map_or_else(|| "documents".into(), |name| named_folder(&format!("documents.{name}")))
}

/// The folder of a named service, relative to the data folder.
pub(crate) fn named_folder(service: &str) -> PathBuf {
    Path::new("instances").join(service)
}

impl fmt::Display for DataPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal => formatter.write_str("journal"),
            Self::Registry => formatter.write_str("registry"),
            Self::Documents(None) => formatter.write_str("documents"),
            Self::Documents(Some(name)) => write!(formatter, "documents.{name}"),
            Self::Keys => formatter.write_str("keys"),
        }
    }
}

impl FromStr for DataPart {
    type Err = UnknownPart;

    fn from_str(text: &str) -> Result<Self, UnknownPart> {
        match text {
            "journal" => Ok(Self::Journal),
            "registry" => Ok(Self::Registry),
            "documents" => Ok(Self::Documents(None)),
            "keys" => Ok(Self::Keys),
            _ => match text.strip_prefix("documents.") {
                Some(name) if !name.is_empty() && !name.contains(['/', '\\', '.']) => {
                    Ok(Self::Documents(Some(name.to_owned())))
                }
                _ => Err(UnknownPart(text.to_owned())),
            },
        }
    }
}

impl TryFrom<String> for DataPart {
    type Error = UnknownPart;

    fn try_from(text: String) -> Result<Self, UnknownPart> {
        text.parse()
    }
}

impl From<DataPart> for String {
    fn from(part: DataPart) -> Self {
        part.to_string()
    }
}
