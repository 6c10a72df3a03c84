//! What the errors of the realtime service behind a binding mean.

http_messages::error_table! {
    /// The errors of the SignalR bindings, in the order of `docs/errors/functions.md`.
    pub ERRORS;

    UNREACHABLE = {
        code: "signalr-unreachable",
        statuses: [],
        fault: Upstream,
        retry: Later,
        happened: "\"METHOD https://.../api/...\" has no response.",
        why: "The connection string names the wrong address, the service does not run, or the network fails. The rest of the text has one of the causes in [egress](egress.md).",
        action: "Correct the connection string, or start the service.",
    }

    IN_PROCESS = {
        code: "signalr-unavailable",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "\"send to the realtime service of this process\".",
        why: "The realtime service is shutting down, or its data folder cannot be written. The cause follows.",
        action: "Retry when the process has restarted; if the cause is the data folder, check its disk.",
    }

    REJECTED = {
        code: "signalr-rejected",
        statuses: [],
        fault: Upstream,
        retry: AfterChange,
        happened: "\"METHOD https://.../api/... returned STATUS\".",
        why: "The service rejected the request: 401 for a wrong access key, 404 for a path that it does not have, 413 for a message that is too large, 429 and 5xx under load.",
        action: "Correct the connection string for 401; see [realtime](realtime.md) for the codes of this service.",
    }
}
