//! [`ErrorChain`] and [`error_chain`]: an error and its causes in one line.

use std::error::Error;
use std::fmt;

/// Displays an error, its cause, the cause of that, and so on, joined by `: `. Our errors say in `Display` what they add and
/// leave the cause to `source`, so that nothing is said twice.
pub struct ErrorChain<'a>(pub &'a dyn Error);

/// The text of [`ErrorChain`].
pub fn error_chain(error: &dyn Error) -> String {
    ErrorChain(error).to_string()
}

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot append to the journal")]
    struct AppendFailed(#[source] std::io::Error);

    #[test]
    fn an_error_is_followed_by_its_causes() {
        let error = AppendFailed(std::io::Error::other("disk full"));
        assert_eq!(ErrorChain(&error).to_string(), "cannot append to the journal: disk full");
        assert_eq!(ErrorChain(&std::io::Error::other("alone")).to_string(), "alone");
    }
}
