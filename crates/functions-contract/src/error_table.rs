//! What the errors of all bindings mean. Errors of one system are described by its connector.

http_messages::error_table! {
    /// The errors that every binding can have, in the order of `docs/errors/functions.md`.
    pub ERRORS;

    DECLARATION = {
        code: "binding-declaration",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "A binding cannot be used as it is declared.",
        why: "A property is missing or wrong, or the setting with its connection string is missing or malformed. The text names it.",
        action: "Correct the declaration or the setting.",
    }

    VALUE = {
        code: "binding-value",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "A binding cannot use a value of this invocation.",
        why: "The function returned a value that the system does not accept, or an expression resolved to a value that is empty or invalid. The text names the property.",
        action: "Correct the function, or the data of the request.",
    }

    ABSENT = {
        code: "binding-absent",
        statuses: [],
        fault: Operator,
        retry: Later,
        happened: "\"container '...' ..., which function '...' listens to, does not exist\"; \"the lease container ... does not exist\".",
        why: "The container was not created yet, or `databaseName` or `containerName` is misspelt.",
        action: "Create it, or correct the names; for the lease container, set `createLeaseContainerIfNotExists` or create it with the partition key `/id`. The trigger then starts by itself.",
    }

    LOCK_LOST = {
        code: "binding-lock-lost",
        statuses: [],
        fault: App,
        retry: Later,
        happened: "The lock of a delivery expired before the function ended; the items are delivered again.",
        why: "The function runs longer than the lock, and the lock could not be renewed.",
        action: "Make the function faster and idempotent, or raise the lock duration of the source.",
    }
}
