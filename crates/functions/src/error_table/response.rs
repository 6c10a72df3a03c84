//! Responses of the host itself. Status and body are those of the Azure Functions host, so most have no body; the code is in the metric
//! `functions_http_rejected`.

use std::time::Duration;

http_messages::error_table! {
    /// In the order of `docs/errors`.
    pub(crate) ERRORS;

    MALFORMED_REQUEST = {
        code: "functions-malformed-request",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The request cannot be read.",
        why: "Its path has `%00` or bytes that are not ASCII, or a header is not UTF-8.",
        action: "Escape the path; write headers in UTF-8.",
    }

    INCOMPLETE_BODY = {
        code: "functions-incomplete-body",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: Later,
        happened: "The body of the request is incomplete.",
        why: "The client closed the connection, sent too slowly, or violated the framing of HTTP/1.1.",
        action: "Send the complete body.",
    }

    INVALID_ADMIN_REQUEST = {
        code: "functions-invalid-admin-request",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "A request to `/admin` cannot be carried out. The body of the response says why.",
        why: "The body is not JSON, a key has no value, the system key cannot be deleted, or the function can only be called by HTTP.",
        action: "Start functions with `{\"input\": \"...\"}`; set keys with `{\"name\": \"...\", \"value\": \"...\"}`.",
    }

    UNAUTHORIZED = {
        code: "functions-unauthorized",
        statuses: [UNAUTHORIZED],
        fault: Caller,
        retry: AfterChange,
        happened: "The key is missing or wrong.",
        why: "Keys are enforced (`functions.enable_auth`, or other machines can connect) and the function's `authLevel` is not `anonymous`; all of `/admin` except ping requests requires the master key.",
        action: "Send the key in the header `x-functions-key` or as `code` in the query. With the master key, all keys can be read at `/admin/functions/<name>/keys` and `/admin/host/keys`; the master key itself is in `function-keys.json` in the data folder. Keys that were created in development mode are not valid in other modes: see [guard](../guard.md).",
    }

    FORBIDDEN = {
        code: "functions-forbidden",
        statuses: [FORBIDDEN],
        fault: Caller,
        retry: AfterChange,
        happened: "The key does not permit this.",
        why: "A request to `/admin` or `/runtime/webhooks` had a host key or a system key.",
        action: "Send the master key.",
    }

    NOT_FOUND = {
        code: "functions-not-found",
        statuses: [NOT_FOUND],
        fault: Caller,
        retry: AfterChange,
        happened: "No function has this route, or the function or key does not exist.",
        why: "No route matches path and method, the function is disabled, or it is in error: then the log has said so at the start.",
        action: "Compare with the list of functions in the log at the start. Routes start with `/api` unless `host.json` sets `routePrefix`.",
    }

    METHOD_NOT_ALLOWED = {
        code: "functions-method-not-allowed",
        statuses: [METHOD_NOT_ALLOWED],
        fault: Caller,
        retry: AfterChange,
        happened: "A webhook does not accept this method.",
        why: "`/runtime/webhooks` accepts `DELETE`, `GET`, `OPTIONS`, `POST` and `PUT`.",
        action: "Use one of these.",
    }

    BODY_TOO_LARGE = {
        code: "functions-body-too-large",
        statuses: [PAYLOAD_TOO_LARGE],
        fault: Caller,
        retry: AfterChange,
        happened: "The body is too large.",
        why: "It has more than `functions.body_bytes_max`, which the setting `FUNCTIONS_REQUEST_BODY_SIZE_LIMIT` overrides.",
        action: "Send less, or raise the limit.",
    }

    NOT_JSON = {
        code: "functions-not-json",
        statuses: [UNSUPPORTED_MEDIA_TYPE],
        fault: Caller,
        retry: AfterChange,
        happened: "The body must be declared as JSON.",
        why: "A function was started by name, or a key was set, without `Content-Type: application/json`.",
        action: "Send that header.",
    }

    TOO_MANY_REQUESTS = {
        code: "functions-too-many-requests",
        statuses: [TOO_MANY_REQUESTS],
        fault: Service,
        retry: Later,
        happened: "Too many concurrent requests.",
        why: "The number of active and waiting requests has reached `functions.requests_max`, or `maxOutstandingRequests` in `host.json`.",
        action: "Try again later; make the function faster, or raise the limit.",
    }

    APP_NOT_CHANGED = {
        code: "functions-app-not-changed",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: App,
        retry: AfterChange,
        happened: "The files of the app could not be changed, or the change has no effect.",
        why: "`PUT` or `DELETE /admin/functions/{name}` could not write the folder of the function, or the app has no such function after it. The body of the response says which.",
        action: "Permit the process to write to the folder of the app, or correct what the body names.",
    }

    KEYS_DAMAGED = {
        code: "functions-keys-damaged",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: Service,
        retry: AfterChange,
        happened: "The stored keys are malformed.",
        why: "Another program changed the data folder, or the disk failed. The body of the response names the record.",
        action: "Restore a [backup](../backup.md), or remove the record: new keys are generated.",
    }

    NOT_RUNNING = {
        code: "functions-not-running",
        statuses: [SERVICE_UNAVAILABLE],
        fault: App,
        retry: Later,
        happened: "The app does not run, or not yet.",
        why: "It did not start, with the reason in the body (only in the log if keys are enforced); it did not start within `functions.start_wait_ms`; or the host is shutting down.",
        action: "Correct what the reason names. The app is started again, with its files and settings read again, when one of its files changes (an edit, `npm install`), or after a pause of `functions.start_retry_ms_min` to `functions.start_retry_ms_max`. Until then `/readyz` and `GET /` return 503.",
    }

    KEYS_UNAVAILABLE = {
        code: "functions-keys-unavailable",
        statuses: [SERVICE_UNAVAILABLE],
        fault: Service,
        retry: Later,
        happened: "A key cannot be read or stored. Nothing was changed.",
        why: "The disk of the data folder is full or has failed, or keys were changed concurrently too often; the body says which.",
        action: "Free disk space, or see [the data folder](../backup.md); then try again.",
    }

    NO_MEMORY_FOR_BODY = {
        code: "functions-no-memory",
        statuses: [SERVICE_UNAVAILABLE],
        fault: Service,
        retry: After(Duration::from_secs(1)),
        happened: "There was no memory or disk space for the body of the request.",
        why: "All bodies in the process share `bodies.memory_bytes_max` and `bodies.disk_bytes_max`. This body waited `bodies.wait_ms`, or arrived slowly while others waited; or the data folder cannot be written. The body of the response says which.",
        action: "Send it again after the time in `Retry-After`. If it persists, raise the limit; the metric `chappe_bodies_held_bytes` shows the use.",
    }
}
