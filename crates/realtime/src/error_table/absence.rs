//! Error codes for things that do not exist.

http_messages::error_table! {
    /// Error codes for things that do not exist.
    pub(crate) ABSENCE;

    CONNECTION_NOT_FOUND = {
        code: "ConnectionNotFound",
        statuses: [NOT_FOUND],
        fault: Caller,
        retry: No,
        happened: "No open connection of the hub has this connection token; its authentication was to be refreshed, or its claims were requested.",
        why: "It has closed, the token is of another hub, or the value is not a connection token: a connection id is not one, and a connection without negotiation or of negotiate version 0 has none.",
        action: "Answer the client `connection_not_found`, so that it connects again. The token is `connectionToken` in the service's response to negotiate; clients send it as `id`.",
    }

    WARNING_CONNECTION_NOT_EXISTED = {
        code: "Warning.Connection.NotExisted",
        statuses: [NOT_FOUND],
        fault: Caller,
        retry: No,
        happened: "The connection does not exist.",
        why: "It has closed, or the id was never one of this service.",
        action: "Nothing; the client gets another id when it connects again.",
    }

    ERROR_STREAM_NOT_EXISTED = {
        code: "Error.Stream.NotExisted",
        statuses: [NOT_FOUND],
        fault: Caller,
        retry: No,
        happened: "Items or the end of a stream were sent, and the stream is not open. The message has the number of items of this request that were sent before.",
        why: "The client did not start a stream with this id, has cancelled it, or the stream has ended: over REST, or in the response of the upstream.",
        action: "Stop sending. Use the invocation id of the client's stream invocation, percent-encoded.",
    }

    ERROR_CONNECTION_NOT_EXISTED = {
        code: "Error.Connection.NotExisted",
        statuses: [NOT_FOUND],
        fault: Caller,
        retry: No,
        happened: "The connection that was to join a group, to complete `:invoke` or to get stream items does not exist.",
        why: "It has closed, or has not completed its handshake yet.",
        action: "Add users rather than connections if a client may connect again, or send the request when the client has connected.",
    }

    WARNING_USER_NOT_EXISTED = {
        code: "Warning.User.NotExisted",
        statuses: [NOT_FOUND],
        fault: Caller,
        retry: No,
        happened: "The user is not connected.",
        why: "No open connection has a token with this user.",
        action: "Nothing, or check the user id in negotiate.",
    }

    WARNING_GROUP_NOT_EXISTED = {
        code: "Warning.Group.NotExisted",
        statuses: [NOT_FOUND],
        fault: Caller,
        retry: No,
        happened: "The group has no connection.",
        why: "A group exists while it has members.",
        action: "Nothing.",
    }

    INFO_USER_NOT_IN_GROUP = {
        code: "Info.User.NotInGroup",
        statuses: [NOT_FOUND],
        fault: Caller,
        retry: No,
        happened: "The user is not in the group.",
        why: "It was never added, was removed, or its `ttl` has passed.",
        action: "Nothing, or add it.",
    }
}
