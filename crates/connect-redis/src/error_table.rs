//! What the errors of a Redis server behind a binding mean.

http_messages::error_table! {
    /// The errors of the Redis bindings, in the order of `docs/errors/functions.md`.
    pub ERRORS;

    UNREACHABLE = {
        code: "redis-unreachable",
        statuses: [],
        fault: Upstream,
        retry: Later,
        happened: "\"no connection to Redis at ...\"; \"the connection to Redis at ... broke\"; \"Redis at ... did not respond in time\".",
        why: "The server does not run, the connection string names the wrong host or port or lacks `ssl=True`, or the network fails.",
        action: "Start the server, correct the setting, or raise `asyncTimeout` in it. Triggers connect again by themselves.",
    }

    LOGIN_REJECTED = {
        code: "redis-login-rejected",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"Redis at ... rejected user or password\".",
        why: "The server requires a password, or another one.",
        action: "Correct `user` and `password` in the setting with the connection string.",
    }

    NO_PERMISSION = {
        code: "redis-no-permission",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"the user has no right to do that\".",
        why: "The ACL of the server forbids the command, key or channel. List and stream triggers need EVAL, and the commands and keys of their scripts.",
        action: "Allow it in the ACL of the server, or use another user.",
    }

    WRONG_TYPE = {
        code: "redis-wrong-type",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"the key holds another kind of value\".",
        why: "The key of a list trigger is not a list, that of a stream trigger is not a stream, or a command is for another kind of value.",
        action: "Name another key, or delete the value.",
    }

    UNKNOWN_COMMAND = {
        code: "redis-unknown-command",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"Redis at ... does not know a command\".",
        why: "The command of a binding is misspelt, or the server is older than Redis 6.2.",
        action: "Correct the command, or use Redis 6.2 or newer.",
    }

    CLUSTER = {
        code: "redis-cluster",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"Redis at ... is a node of a cluster, which is not supported\".",
        why: "The server redirects to another node.",
        action: "Use a server or a proxy that answers for all keys.",
    }

    REJECTED = {
        code: "redis-rejected",
        statuses: [],
        fault: Upstream,
        retry: AfterChange,
        happened: "\"Redis at ... answered ...\"; \"Redis at ... is a read-only replica\".",
        why: "The server rejected the command; its answer follows.",
        action: "Correct the command, or what the answer names. LOADING, BUSY, OOM, MISCONF and READONLY can succeed later.",
    }
}
