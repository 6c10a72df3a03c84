//! The exit code of an error. `docs/errors/start.md` says what each one means.

use std::error::Error;

use crate::services;
use crate::trust::TrustError;

/// The command line, the configuration or the app is wrong (`EX_USAGE` of sysexits.h): restarting does not help.
pub(crate) const USAGE: u8 = 64;

/// A part of the process has ended without which it cannot go on (`EX_SOFTWARE` of sysexits.h): restarting helps.
const FAILED_PART: u8 = 70;

/// Anything else: restarting may help.
const FAILED: u8 = 1;

/// The error was logged; nothing is left to say.
#[derive(Debug, thiserror::Error)]
#[error("the log has the error")]
pub(crate) struct Logged {
    /// The exit code of that error.
    pub(crate) code: u8,
}

/// The code with which the process ends because of an error.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    if let Some(Logged { code }) = error.downcast_ref() {
        *code
    } else if error.is::<supervision::Failure>() {
        FAILED_PART
    } else if error.chain().any(is_usage) {
        USAGE
    } else {
        FAILED
    }
}

/// Whether an error is of the configuration or the app, as `chappe check` finds it too.
fn is_usage(error: &(dyn Error + 'static)) -> bool {
    services::TABLE.iter().any(|row| (row.is_usage_error)(error))
        || error.is::<egress::OptionsError>()
        || error.is::<edge::TlsConfigError>()
        || error.is::<TrustError>()
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use functions::worker::StartError as WorkerError;
    use realtime::StartError as RealtimeError;

    use super::*;

    #[test]
    fn errors_of_the_configuration_have_their_code_below_any_context() {
        let unknown = || WorkerError::UnknownLanguage { language: "cobol".to_owned(), built_in: "node" };
        let option = || documents::Error::Option { name: "primary_key", why: "x".to_owned() };
        let wrapped: anyhow::Result<()> = Err(option()).context("the document service cannot start");
        for (error, expected) in [
            (functions::Error::Worker(unknown()).into(), USAGE),
            (functions::Error::Setting("x".to_owned()).into(), USAGE),
            (functions::Error::Keys("x".to_owned()).into(), FAILED),
            (wrapped.expect_err("it is one"), USAGE),
            (documents::Error::Damaged("x".to_owned()).into(), FAILED),
            (RealtimeError::Options(realtime::OptionsError::EmptyKey("primary_key")).into(), USAGE),
            (RealtimeError::Keys(realtime::OpenKeysError::Record("x".to_owned())).into(), FAILED),
            (egress::OptionsError::ProxyMalformed.into(), USAGE),
            (Logged { code: USAGE }.into(), USAGE),
            (supervision::Failure { unit: "u".to_owned(), cause: "c".to_owned() }.into(), FAILED_PART),
            (anyhow::anyhow!("anything else"), FAILED),
        ] {
            assert_eq!(code(&error), expected, "{error:?}");
        }
    }
}
