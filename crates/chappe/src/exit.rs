//! The exit code of an error. `docs/errors/start.md` says what each one means.

use http_messages::{ErrorDescription, Fault, RetryAdvice};

use crate::error_code;

/// The command line, the configuration or the app is wrong (`EX_USAGE` of sysexits.h): restarting does not help.
pub(crate) const USAGE: u8 = 64;

/// A part that the process cannot continue without has ended (`EX_SOFTWARE` of sysexits.h): restarting helps.
const FAILED_PART: u8 = 70;

/// Any other error: restarting may help.
const FAILED: u8 = 1;

/// The error was logged.
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
    } else if is_usage(error_code::describe(error)) {
        USAGE
    } else {
        FAILED
    }
}

/// Whether the operator or the developer of the app has to change something, so that a restart does not help.
fn is_usage(description: &ErrorDescription) -> bool {
    matches!(description.fault, Fault::Operator | Fault::App) && description.retry == RetryAdvice::AfterChange
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use functions::worker::StartError as WorkerError;
    use realtime::StartError as RealtimeError;

    use super::*;
    use crate::command_error::CommandError;
    use crate::error_table::data;

    #[test]
    fn an_error_of_configuration_or_app_below_any_context_has_exit_code_64() {
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

    #[test]
    fn an_error_has_the_code_of_the_outermost_description() {
        let opened = documents::Error::InUse { path: "documents".into() };
        let opened: anyhow::Result<()> = Err(opened).context("the document service cannot start");
        let backed_up: anyhow::Result<()> = Err(documents::Error::Damaged("x".to_owned()))
            .context(CommandError::new(&data::BACKUP_FAILED, "back up the documents"));
        for (error, expected) in [
            (opened.expect_err("it is one"), "data-in-use"),
            (backed_up.expect_err("it is one"), "backup-failed"),
            (functions::Error::Setting("x".to_owned()).into(), "functions-invalid-setting"),
            (egress::OptionsError::ProxyMalformed.into(), "config-egress"),
            (
                RealtimeError::Keys(realtime::OpenKeysError::Record("x".to_owned())).into(),
                "data-realtime-state",
            ),
            (anyhow::anyhow!("anything else"), "process-failed"),
        ] {
            assert_eq!(error_code::describe(&error).code, expected, "{error:?}");
        }
    }
}
