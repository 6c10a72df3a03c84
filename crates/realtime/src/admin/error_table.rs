//! The error codes of the realtime service's operations in the admin API.

http_messages::error_table! {
    /// The errors of the realtime service's operations in the admin API of the process.
    pub ADMIN_ERRORS;

    NO_SUCH_POSITION = {
        code: "admin-no-such-place",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "`after` is not a position among the dead letters.",
        why: "It was not copied from `next` of a page, or was changed.",
        action: "Use `next` of the previous page unchanged, or omit `after` to start with the oldest letter.",
    }

    UNREADABLE_LETTERS = {
        code: "admin-unreadable-letters",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: Service,
        retry: Later,
        happened: "The dead letters cannot be read.",
        why: "The journal in the data folder cannot be read: the disk fails, or the process is shutting down. The log has the cause.",
        action: "Retry; if it persists, check the log and the disk.",
    }

    NO_SUCH_FILTER = {
        code: "admin-no-such-filter",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The filter of the live trace cannot match anything.",
        why: "`hub` is not a valid hub name, or `connection` is not a connection id.",
        action: "Use a hub as in a client's address, and a connection id as a client or `chappe tail` shows it.",
    }

    TOO_MANY_WATCHERS = {
        code: "admin-too-many-watch",
        statuses: [TOO_MANY_REQUESTS],
        fault: Service,
        retry: Later,
        happened: "Too many callers watch the live trace.",
        why: "`realtime.watchers_max` is reached; watchers over REST count too.",
        action: "End one of them, or raise `realtime.watchers_max`.",
    }

    DRAINING = {
        code: "admin-draining",
        statuses: [SERVICE_UNAVAILABLE],
        fault: Service,
        retry: Later,
        happened: "The live trace has ended.",
        why: "The process is shutting down.",
        action: "Retry when the process has restarted.",
    }
}
