//! What each `code` of the document service means. The codes are those of Cosmos DB, because its SDKs decide by them; two are our
//! own in the same spelling (`DataDamaged`, `InsufficientStorage`), for conditions that the real service does not report.

use std::time::Duration;

http_messages::error_table! {
    /// The errors of the document service, in the order of `docs/errors/documents.md`.
    pub ERRORS;

    BAD_REQUEST = {
        code: "BadRequest",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The request is invalid. Nothing was changed.",
        why: "The message names the cause: a missing or malformed header, body, id, partition key, patch or query, or a feature that this service does not support.",
        action: "Correct the request. SDKs do not retry it.",
    }

    UNAUTHORIZED = {
        code: "Unauthorized",
        statuses: [UNAUTHORIZED],
        fault: Caller,
        retry: AfterChange,
        happened: "The signature of the request is invalid.",
        why: "Wrong account key (the emulator's public key is only accepted in [development mode](../guard.md#development-mode)); a proxy that changed the path; an `x-ms-date` that is not a date like `Fri, 20 Nov 2026 21:36:21 GMT`; or a Microsoft Entra or resource token, which are not supported.",
        action: "Use `documents.primary_key`, or the key in `keys.json` in the data folder, including its `=` signs.",
    }

    FORBIDDEN = {
        code: "Forbidden",
        statuses: [FORBIDDEN],
        fault: Caller,
        retry: AfterChange,
        happened: "The signature is valid, but its date is not accepted.",
        why: "Outside of development mode a signature is valid for 15 minutes (`documents.signature_age_max_s`), and its date may be up to five minutes ahead of this machine. The message contains the dates.",
        action: "Set the clocks of both machines. Sign each request separately, like the SDKs; do not reuse a signature.",
    }

    NOT_FOUND = {
        code: "NotFound",
        statuses: [NOT_FOUND],
        fault: Caller,
        retry: AfterChange,
        happened: "The item, container or database does not exist. With sub-status 1003, the database or container of the resource does not exist.",
        why: "It was never created, it was deleted, its `ttl` expired, or the request has another partition key than the item.",
        action: "Check names and partition key. Create the database and container first: `createIfNotExists` in the SDKs.",
    }

    METHOD_NOT_ALLOWED = {
        code: "MethodNotAllowed",
        statuses: [METHOD_NOT_ALLOWED],
        fault: Caller,
        retry: AfterChange,
        happened: "The address exists, but not for this method.",
        why: "A database can be created and deleted, but not changed; an offer can be read, queried and replaced.",
        action: "Use another operation.",
    }

    CONFLICT = {
        code: "Conflict",
        statuses: [CONFLICT],
        fault: Caller,
        retry: AfterChange,
        happened: "The resource already exists.",
        why: "There is an item with this id and partition key, or a database or container with this name.",
        action: "Replace or upsert it, or choose another id.",
    }

    PRECONDITION_FAILED = {
        code: "PreconditionFailed",
        statuses: [PRECONDITION_FAILED],
        fault: Caller,
        retry: AfterChange,
        happened: "The precondition of the request is false.",
        why: "The etag of the item is not the one in `If-Match`, because the item was changed since it was read; or the condition of a patch is false.",
        action: "Read the item again, apply your change to it, and write it with the new etag.",
    }

    TOO_LARGE = {
        code: "RequestEntityTooLarge",
        statuses: [PAYLOAD_TOO_LARGE],
        fault: Caller,
        retry: AfterChange,
        happened: "The item or body is too large.",
        why: "The defaults are 2 MiB for `item_bytes_max` and 4 MiB for `body_bytes_max`.",
        action: "Split the item; store large contents elsewhere and their address in the item.",
    }

    REQUEST_TIMEOUT = {
        code: "RequestTimeout",
        statuses: [REQUEST_TIMEOUT],
        fault: Service,
        retry: Later,
        happened: "The read took too long and was canceled.",
        why: "SQLite took longer than four times `query_ms_max` between two rows: the machine is overloaded, or the container is very large.",
        action: "Request less data, or retry when the machine is less busy.",
    }

    GONE = {
        code: "Gone",
        statuses: [GONE],
        fault: Caller,
        retry: AfterChange,
        happened: "The partition key range does not exist (sub-status 1002).",
        why: "A container has one range here, with id 0, and the request names another one.",
        action: "SDKs read the ranges again and retry; do the same in your own client.",
    }

    FAILED_DEPENDENCY = {
        code: "FailedDependency",
        statuses: [FAILED_DEPENDENCY],
        fault: Caller,
        retry: AfterChange,
        happened: "This operation of a batch was not executed.",
        why: "Another operation of the same transactional batch failed; a batch is atomic.",
        action: "Find the operation with another status.",
    }

    TOO_MANY_REQUESTS = {
        code: "TooManyRequests",
        statuses: [TOO_MANY_REQUESTS],
        fault: Service,
        // A queue has capacity again within a moment; memory for a body takes longer.
        retry: After(Duration::from_millis(50)),
        happened: "A queue is full, or there was no memory for the body (sub-status 3200, with `x-ms-retry-after-ms`).",
        why: "`write_queue_requests_max`, `write_queue_bytes_max` or `read_queue_requests_max` is reached; or all bodies together use `bodies.memory_bytes_max`, and this one waited `bodies.wait_ms` for memory, or arrived slowly while others waited. Request units are not enforced: this is the limit of the machine.",
        action: "SDKs wait and retry. If it persists, send fewer requests at a time, or raise the limit.",
    }

    UNAVAILABLE = {
        code: "ServiceUnavailable",
        statuses: [SERVICE_UNAVAILABLE],
        fault: Service,
        retry: Later,
        happened: "The service cannot respond. Nothing of the request was stored.",
        why: "It is shutting down, or the database file failed; then the log has the cause.",
        action: "Retry in a moment. If the log reports the file, check its disk and folder.",
    }

    DATA_DAMAGED = {
        code: "DataDamaged",
        statuses: [SERVICE_UNAVAILABLE],
        fault: Service,
        retry: AfterChange,
        happened: "The database file is damaged or lost acknowledged writes. Nothing of the request was stored.",
        why: "The checksum of a page is wrong, or the file ends before the last acknowledged write: a fault of disk, memory or file system, or another program changed the file.",
        action: "Stop the process, run `chappe check --data`, and restore a backup ([backup](../backup.md)). Until then, intact data can be read.",
    }

    INSUFFICIENT_STORAGE = {
        code: "InsufficientStorage",
        statuses: [INSUFFICIENT_STORAGE],
        fault: Service,
        retry: AfterChange,
        happened: "The disk is full. Nothing of the request was stored.",
        why: "The disk of the data folder is full, or `database_bytes_max` is reached.",
        action: "Free some space or raise the limit: deletes are accepted on a full disk too (`documents.reserve_bytes` reserves space for them), and the space that they free can be written again. Reads work as before.",
    }
}
