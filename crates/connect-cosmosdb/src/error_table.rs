//! What the errors of a Cosmos DB account behind a binding mean.

http_messages::error_table! {
    /// The errors of the Cosmos DB bindings, in the order of `docs/errors/functions.md`.
    pub ERRORS;

    UNREACHABLE = {
        code: "cosmosdb-unreachable",
        statuses: [],
        fault: Upstream,
        retry: Later,
        happened: "\"the account at ... did not respond\"; \"... had no complete response within ... ms\".",
        why: "The connection string names the wrong address, the document service or account does not run, or the network fails. The rest of the text has one of the causes in [egress](egress.md).",
        action: "Correct the connection string, start the service, or raise `connect.cosmosdb.request_timeout_ms`.",
    }

    UNREADABLE = {
        code: "cosmosdb-unreadable-response",
        statuses: [],
        fault: Upstream,
        retry: Later,
        happened: "\"the response to ... could not be read\".",
        why: "The connection broke during the response, or the response is larger than `egress.response_bytes_max`.",
        action: "Request less data, or raise the limit; a lost connection is retried by triggers.",
    }

    REJECTED = {
        code: "cosmosdb-rejected",
        statuses: [],
        fault: Upstream,
        retry: AfterChange,
        happened: "\"... returned STATUS (sub-status N)\".",
        why: "The account rejected the request; the message of the account follows.",
        action: "See [documents](documents.md) for the status. Requests with 408, 410, 429, 449 or 5xx can succeed later.",
    }

    NO_CONTAINER = {
        code: "cosmosdb-no-container",
        statuses: [],
        fault: App,
        retry: Later,
        happened: "\"container '...' ..., to which function '...' writes, does not exist\".",
        why: "It was not created, or the names are misspelt.",
        action: "Create it, or set `createIfNotExists` and `partitionKey`.",
    }

    PROTOCOL_VIOLATED = {
        code: "cosmosdb-protocol",
        statuses: [],
        fault: Upstream,
        retry: AfterChange,
        happened: "\"the response to ... violates the Cosmos DB protocol\"; \"the document in the response is not UTF-8\".",
        why: "The address belongs to another service, or a proxy changed the response.",
        action: "Correct the address in the connection string.",
    }

    LEASE_LOST = {
        code: "cosmosdb-lease-lost",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "\"another host acquired the lease ...\".",
        why: "Another process runs the trigger of this function, or this process did not renew its lease in time. Leases move when processes start and stop.",
        action: "Nothing; if it repeats, the function or the account takes longer than `leaseExpirationInterval`.",
    }

    RENEWAL_ENDED = {
        code: "cosmosdb-renewal-ended",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "\"the task that renews the leases ended\".",
        why: "A defect of this program; the log has the place. The trigger is opened again.",
        action: "Report the log.",
    }
}
