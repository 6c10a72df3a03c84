//! What each code of the functions host's part of the admin API means.

http_messages::error_table! {
    /// The errors of the functions host's operations in the admin API of the process.
    pub ADMIN_ERRORS;

    INVALID_USAGE_QUERY = {
        code: "admin-invalid-usage-query",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "A parameter of the usage report cannot be read.",
        why: "`from` and `to` are a date or a time in RFC 3339, and `by` is `total`, `day` or `hour`. The message names the parameter.",
        action: "Correct the parameter.",
    }

    UNREADABLE_USAGE = {
        code: "admin-unreadable-usage",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: Service,
        retry: Later,
        happened: "The usage of functions cannot be read.",
        why: "The registry in the data folder cannot be read: the disk fails, or the process is shutting down. The log has the cause.",
        action: "Retry; if it lasts, look at the log and at the disk.",
    }
}
