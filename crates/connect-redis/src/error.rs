//! Why a command failed, and how that is reported to the host.

use functions_contract::BindingError;
use http_messages::ErrorDescription;
use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error_table;

/// The server behind a connection string, for messages.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) address: String,
    /// The app setting that contains the connection string.
    pub(crate) setting: String,
}

impl Server {
    /// The error of a command. `what` names it: `read the list 'orders'`.
    pub(crate) fn failed(&self, what: &str, error: RedisError) -> BindingError {
        let (description, why, retryable) = self.explain(&error);
        BindingError::System { error: description, what: format!("{what}: {why}"), retryable, cause: None }
    }

    fn explain(&self, error: &RedisError) -> (&'static ErrorDescription, String, bool) {
        let (address, setting) = (&self.address, &self.setting);
        let reply = reply(error);
        let code = reply.split(' ').next().unwrap_or_default();
        if code == "WRONGPASS" || code == "NOAUTH" || error.kind() == ErrorKind::AuthenticationFailed {
            let why = format!(
                "Redis at {address} rejected user or password ({reply}); correct 'user' and 'password' in the setting '{setting}'"
            );
            return (&error_table::LOGIN_REJECTED, why, false);
        }
        // Redis before version 7 wraps the error of a command in a script.
        if reply.contains("WRONGTYPE") {
            let why = "the key holds another kind of value; name another key, or delete the value";
            return (&error_table::WRONG_TYPE, why.to_owned(), true);
        }
        if reply.contains("unknown command") || reply.contains("Unknown Redis command") {
            let why = format!(
                "Redis at {address} does not know a command ({reply}); correct the command, or use Redis 6.2 or newer"
            );
            return (&error_table::UNKNOWN_COMMAND, why, false);
        }
        match error.kind() {
            ErrorKind::Server(kind) => self.explain_rejection(kind, &reply, code),
            _ if error.is_timeout() => {
                let why = format!(
                    "Redis at {address} did not respond in time; check that it runs, or raise asyncTimeout in the setting '{setting}'"
                );
                (&error_table::UNREACHABLE, why, true)
            }
            _ if error.to_string().contains("certificate") => {
                let why = format!(
                    "Redis at {address} has a certificate that is not trusted ({error}); name the file of its authority in \
                     connect.redis.root_files, and use a name of the certificate as the host in the setting '{setting}'"
                );
                (&error_table::UNREACHABLE, why, true)
            }
            _ if error.is_io_error() || error.is_connection_dropped() => {
                let why = format!(
                    "no connection to Redis at {address} ({error}); check that it runs, and host, port and ssl in the setting \
                     '{setting}'"
                );
                (&error_table::UNREACHABLE, why, true)
            }
            _ => (&error_table::REJECTED, format!("Redis at {address}: {error}"), true),
        }
    }

    fn explain_rejection(
        &self,
        kind: ServerErrorKind,
        reply: &str,
        code: &str,
    ) -> (&'static ErrorDescription, String, bool) {
        let (address, setting) = (&self.address, &self.setting);
        match kind {
            ServerErrorKind::NoPerm => {
                let why = format!(
                    "the user has no right to do that ({reply}); allow it in the ACL of Redis at {address}"
                );
                (&error_table::NO_PERMISSION, why, false)
            }
            ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot => {
                let why = format!(
                    "Redis at {address} is a node of a cluster, which is not supported ({reply}); use a server or a proxy that answers for \
                     all keys"
                );
                (&error_table::CLUSTER, why, false)
            }
            ServerErrorKind::ReadOnly => {
                let why = format!(
                    "Redis at {address} is a read-only replica; name the primary in the setting '{setting}'"
                );
                (&error_table::REJECTED, why, true)
            }
            _ => (&error_table::REJECTED, format!("Redis at {address} answered {reply}"), is_temporary(code)),
        }
    }
}

/// The error text of the server: code and message.
fn reply(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, Some(detail)) => detail.to_owned(),
        (None, None) => error.to_string(),
    }
}

/// Whether the server may accept the same command later.
fn is_temporary(code: &str) -> bool {
    matches!(
        code,
        "LOADING"
            | "BUSY"
            | "TRYAGAIN"
            | "CLUSTERDOWN"
            | "MASTERDOWN"
            | "OOM"
            | "MISCONF"
            | "NOREPLICAS"
            | "NOGROUP"
    )
}
