//! Why an invocation failed.

http_messages::error_table! {
    /// In the order of `docs/errors`.
    pub(crate) ERRORS;

    EXCEPTION = {
        code: "functions-exception",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: App,
        retry: No,
        happened: "The function threw an exception or returned an error.",
        why: "The log has its type, message and stack.",
        action: "Correct the function, or the input that it cannot process.",
    }

    NO_EXPRESSION_VALUE = {
        code: "functions-no-expression-value",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: App,
        retry: AfterChange,
        happened: "\"no value for {...} in ...\".",
        why: "An expression of a binding has no value for this invocation: neither the trigger nor the request provides it.",
        action: "Correct the name in the braces, or send the value.",
    }

    WORKER_ENDED = {
        code: "functions-worker-ended",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: App,
        retry: Later,
        happened: "\"the worker process ... ended in the middle of the invocation\". It is replaced at once; a change feed trigger gets the batch again.",
        why: "The worker crashed or was killed; often memory, or `process.exit` in the app.",
        action: "Read the preceding lines in the log.",
    }

    TIMED_OUT = {
        code: "functions-timed-out",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: App,
        retry: No,
        happened: "\"the function did not end within ...\".",
        why: "It ran longer than `functionTimeout`: it waits for something that does not happen, or computes for long.",
        action: "Shorten the work, end it when the cancellation signal is set (`context.signal` on the built-in Node.js worker, `CancellationToken` in .NET), or raise `functionTimeout` in `host.json`.",
    }

    OVERRAN = {
        code: "functions-overran",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"A function went on beyond functionTimeout after it was told to stop: worker process ... is replaced\".",
        why: "The function continued for `functions.workers.cancel_grace_ms` after its cancellation: it ignores the cancellation signal.",
        action: "As for `functions-timed-out`.",
    }

    NO_WORKER = {
        code: "functions-no-worker",
        statuses: [SERVICE_UNAVAILABLE],
        fault: App,
        retry: Later,
        happened: "\"no worker is ready: ...\".",
        why: "All worker processes have ended, and new ones do not start or end at once. The reason follows.",
        action: "Do what the reason says; see [workers](#workers).",
    }

    DRAINING = {
        code: "functions-draining",
        statuses: [SERVICE_UNAVAILABLE],
        fault: Service,
        retry: Later,
        happened: "\"the workers are being stopped\".",
        why: "The host is shutting down.",
        action: "Try again when it has restarted.",
    }

    CANCELLED = {
        code: "functions-cancelled",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: Caller,
        retry: Later,
        happened: "\"the caller went away before the function was called\".",
        why: "The HTTP client closed its connection while the invocation waited for a worker: the workers are overloaded, or the timeout of the client is too short.",
        action: "Raise the timeout of the client, or run more workers (`FUNCTIONS_WORKER_PROCESS_COUNT`).",
    }

    INVOCATION_TOO_LARGE = {
        code: "functions-invocation-too-large",
        statuses: [PAYLOAD_TOO_LARGE],
        fault: Caller,
        retry: AfterChange,
        happened: "\"the invocation is larger (...) than the worker accepts (...)\".",
        why: "The request or the trigger data do not fit into one message; the limit of the built-in worker is `functions.workers.frame_bytes_max`.",
        action: "Send less, or raise the limit.",
    }

    BODY_FILE = {
        code: "functions-body-file",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: Service,
        retry: Later,
        happened: "\"read the body of the request from its file\".",
        why: "The body of a large request is in a file of the data folder that cannot be read; the error of the operating system follows.",
        action: "Check the disk; send the request again.",
    }

    WORKER_UNREACHABLE = {
        code: "functions-worker-unreachable",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: App,
        retry: Later,
        happened: "\"the worker reported that it receives HTTP requests at ..., but it accepts no connection there\".",
        why: "The HTTP server of the worker (`HttpUri`) did not start, or ended.",
        action: "Read the output of the worker in the log, then restart it.",
    }

    NO_WORKER_RESPONSE = {
        code: "functions-no-worker-response",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: App,
        retry: Later,
        happened: "\"Functions.... got no response from its worker\"; \"The response of Functions.... was aborted\".",
        why: "The worker closed the connection of a request that it received itself, or sent nothing for too long: the function destroyed the connection, or the worker violated HTTP.",
        action: "Read the lines of the same invocation in the log.",
    }

    INVALID_RESPONSE = {
        code: "functions-invalid-response",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: App,
        retry: AfterChange,
        happened: "\"The response of Functions.... cannot be sent: ...\".",
        why: "The function returned a status that is out of range, or a header name or value that HTTP does not permit.",
        action: "Correct what the text names.",
    }

    PANICKED = {
        code: "functions-host-failed",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: Service,
        retry: Later,
        happened: "The host failed during an invocation.",
        why: "A defect of this program; the log has the place.",
        action: "Report the log.",
    }
}
