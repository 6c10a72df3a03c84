//! [`ServiceId`]: which service of the process.

use std::fmt;

/// A service of this process: the section that configures it, and its name where it is one of several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServiceId {
    /// The section, such as `realtime`.
    pub(crate) service: &'static str,
    /// Such as `chat` for `[realtime.chat]`; none for the default service, `[realtime]`.
    pub(crate) name: Option<String>,
}

/// Why a service cannot have a name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServiceNameError {
    #[error(
        "`{0}` is no name for a service: use at most {NAME_LENGTH_MAX} lower-case letters, digits and hyphens, beginning with a letter"
    )]
    Malformed(String),
    #[error("`default` is no name for a service of its own: the section without a name is the default one")]
    Default,
}

/// Longest name, in characters.
const NAME_LENGTH_MAX: usize = 32;

impl ServiceId {
    /// The default service of a section.
    pub(crate) const fn unnamed(service: &'static str) -> Self {
        Self { service, name: None }
    }

    /// One of several services of a section.
    ///
    /// # Errors
    ///
    /// If the name could not stand in paths, labels and names of folders.
    pub(crate) fn named(service: &'static str, name: &str) -> Result<Self, ServiceNameError> {
        let is_valid = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.len() <= NAME_LENGTH_MAX
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        match name {
            "default" => Err(ServiceNameError::Default),
            _ if !is_valid => Err(ServiceNameError::Malformed(name.to_owned())),
            _ => Ok(Self { service, name: Some(name.to_owned()) }),
        }
    }

    /// Whether it is the one that has no name.
    pub(crate) fn is_default(&self) -> bool {
        self.name.is_none()
    }

    /// The option that says where it listens.
    pub(crate) fn listen_option(&self) -> String {
        match self.name {
            None => format!("listen.{}", self.service),
            Some(_) => format!("{self}.listen"),
        }
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            None => f.write_str(self.service),
            Some(name) => write!(f, "{}.{name}", self.service),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names_have_a_limited_length_and_character_set() {
        for name in ["chat", "a1", "two-words"] {
            let id = ServiceId::named("realtime", name).expect("a name");
            assert_eq!(id.to_string(), format!("realtime.{name}"));
            assert_eq!(id.listen_option(), format!("realtime.{name}.listen"));
        }
        for name in ["", "Chat", "1a", "a_b", "a.b", "a/b", &"a".repeat(33)] {
            assert!(
                matches!(ServiceId::named("realtime", name), Err(ServiceNameError::Malformed(_))),
                "{name}"
            );
        }
        assert_eq!(ServiceId::named("realtime", "default"), Err(ServiceNameError::Default));
    }
}
