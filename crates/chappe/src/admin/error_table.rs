//! Descriptions of the admin API's error codes that the process itself sends; `realtime` has those of its operations.

http_messages::error_table! {
    /// The errors that the process itself sends on the admin API.
    #[cfg(test)]
    pub(crate) ERRORS;

    NOT_THIS_MACHINE = {
        code: "admin-not-this-machine",
        statuses: [FORBIDDEN],
        fault: Caller,
        retry: AfterChange,
        happened: "The request is not from this machine, or is for another host name.",
        why: "The admin API shows what runs here and can end a worker. It accepts only connections from this machine whose request is for `localhost` or a loopback address; with any other name, a page of another site may have made its own name lead here.",
        action: "Send the request from this machine. For metrics from elsewhere, set `listen.admin` to an address that only your collector can reach.",
    }

    NO_TRACE_ID = {
        code: "admin-no-trace-id",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The last part of the path is not a trace id.",
        why: "A trace id has 32 lower-case hexadecimal digits.",
        action: "Use the second field of a `traceparent` header.",
    }

    INVALID_CONFIGURATION = {
        code: "admin-invalid-configuration",
        statuses: [UNPROCESSABLE_ENTITY],
        fault: Caller,
        retry: AfterChange,
        happened: "`POST /chappe/api/reload` read a configuration that is wrong or cannot be applied.",
        why: "A reload applies all changes or none: the process continues with the configuration that it had. The message names the file, the line, the option and the reason, as `chappe check` does.",
        action: "Correct the file and send the request again; `chappe config show` prints the values that would be in effect.",
    }

    SERVICE_OFF = {
        code: "admin-service-off",
        statuses: [CONFLICT],
        fault: Caller,
        retry: AfterChange,
        happened: "The operation belongs to a service that does not run in this process.",
        why: "Functions do not run with `--no-functions` or `run_functions = false`, so that there are no workers and no log of the app.",
        action: "Send the request to the process that runs the functions, or start this one with them.",
    }
}
