//! [`RestartReason`]: why the app is started again.

use std::path::PathBuf;

/// Why the app is started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RestartReason {
    /// These files of the app have changed.
    Files(Vec<PathBuf>),
    /// The pause after a failure is over.
    Time,
    /// [`crate::Handle::reload`].
    Request,
}

impl RestartReason {
    /// The reason as a part of a log line: `after a change of app.js`.
    pub(crate) fn text(&self) -> String {
        const NAMED_MAX: usize = 3;
        match self {
            Self::Time => "after a pause".to_owned(),
            Self::Request => "on request".to_owned(),
            Self::Files(files) => {
                let named: Vec<String> =
                    files.iter().take(NAMED_MAX).map(|file| file.display().to_string()).collect();
                let more = match files.len().saturating_sub(NAMED_MAX) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!("after a change of {}{more}", named.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_changed_files_are_named() {
        let files = |names: &[&str]| RestartReason::Files(names.iter().map(PathBuf::from).collect()).text();
        assert_eq!(files(&["a.js"]), "after a change of a.js");
        assert_eq!(files(&["a", "b", "c", "d", "e"]), "after a change of a, b, c and 2 more");
    }
}
