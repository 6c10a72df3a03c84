//! Error codes of the REST API.

use std::time::Duration;

http_messages::error_table! {
    /// Error codes of the REST API.
    pub(crate) REST;

    NOT_FOUND = {
        code: "NotFound",
        statuses: [NOT_FOUND],
        fault: Caller,
        retry: AfterChange,
        happened: "There is nothing at this address, or no negotiation with this id. The message says which.",
        why: "The path is wrong; the client connected later than `negotiation_lifetime_ms` after negotiate, or with another user or hub; or it uses a transport other than WebSockets.",
        action: "Clients connect at `/client/?hub=<hub>` right after negotiating, over WebSockets. App servers connect at `/server/?hub=<hub>`. Apps send below `/api/v1/hubs/<hub>` or `/api/hubs/<hub>`.",
    }

    METHOD_NOT_ALLOWED = {
        code: "MethodNotAllowed",
        statuses: [METHOD_NOT_ALLOWED],
        fault: Caller,
        retry: AfterChange,
        happened: "The address exists but does not accept this method.",
        why: "The header `Allow` has the methods that it accepts.",
        action: "Use one of them.",
    }

    INVALID_PATH = {
        code: "InvalidPath",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "A part of the path is not UTF-8.",
        why: "A name was encoded from another character set, or cut inside a character, such as `%ff`.",
        action: "Encode the name in UTF-8, then with percent signs.",
    }

    MISSING_API_VERSION = {
        code: "MissingApiVersion",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The query has no `api-version`.",
        why: "Addresses below `/api/hubs` require it; those below `/api/v1` do not.",
        action: "Add for example `api-version=2022-06-01`.",
    }

    INVALID_GROUP = {
        code: "InvalidGroup",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The name is not a valid group name.",
        why: "A group name has 1 to 1024 characters and is not only white space.",
        action: "Choose another name; percent-encode it in the path.",
    }

    INVALID_TTL = {
        code: "InvalidTtl",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "`ttl` is not a number of seconds.",
        why: "It is the time for which a user stays in a group.",
        action: "Write a whole number such as `ttl=3600`, or leave it out.",
    }

    INVALID_BODY = {
        code: "InvalidBody",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The body cannot be read. The message of the response says where.",
        why: "The body is not `{\"target\": ..., \"arguments\": [...]}`, its target is empty or begins with `chappe.` (reserved for the service), its arguments are not an array or are nested too deeply; a framed message is not an invocation; an item is not JSON.",
        action: "Correct the body. SDKs that send it correctly may need an update.",
    }

    UNSUPPORTED_MEDIA_TYPE = {
        code: "UnsupportedMediaType",
        statuses: [UNSUPPORTED_MEDIA_TYPE],
        fault: Caller,
        retry: AfterChange,
        happened: "The content type of the body is not supported, or it is compressed. The message says which.",
        why: "A message is JSON, MessagePack, or what the SDKs send as `application/octet-stream`; a compressed body could expand beyond every limit.",
        action: "Set `Content-Type: application/json`, and send no `Content-Encoding`.",
    }

    MISSING_CONNECTION_TOKEN = {
        code: "MissingConnectionToken",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The body names no connection.",
        why: "`:refreshAuth` and `connections/claims` require `{\"connectionToken\": …}`.",
        action: "Pass on the `id` of the client's request.",
    }

    INVALID_EXPIRE_TIME = {
        code: "InvalidExpireTime",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "`expireTime` is not a valid time.",
        why: "It is a text such as `2030-01-01T12:00:00Z`, with its offset; null or absent does not change when the connection expires.",
        action: "Write it in the form of RFC 3339.",
    }

    CONNECTION_USER_MISMATCH = {
        code: "ConnectionUserMismatch",
        statuses: [FORBIDDEN],
        fault: Caller,
        retry: AfterChange,
        happened: "The claims of a refresh are of another user. Nothing was changed, and the connection is open.",
        why: "The user of a connection never changes: `asrs.s.uid`, or else the name identifier, must be the same as before.",
        action: "Answer the client 403 `permission_change_rejected`; another user needs another connection.",
    }

    INVALID_FILTER = {
        code: "InvalidFilter",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The filter of `:execute` is not valid. The message has the position.",
        why: "Its syntax is wrong, it compares values of different types, or it is too long or nested too deeply.",
        action: "Correct it; [the language](../realtime-rest.md#commands-for-chosen-connections) is small.",
    }

    INVALID_COMMANDS = {
        code: "InvalidCommands",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "A command of `:execute` is not valid; no command was carried out.",
        why: "`details` has each command that is wrong.",
        action: "Correct those.",
    }

    INVALID_PAGE = {
        code: "InvalidPage",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "`maxpagesize` or `top` is out of range.",
        why: "A page has 1 to 200 entries.",
        action: "Request fewer at a time and follow `nextLink`.",
    }

    INVALID_CONTINUATION_TOKEN = {
        code: "InvalidContinuationToken",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The list cannot be continued from there.",
        why: "The `continuationToken` is not one of this list.",
        action: "Follow `nextLink` as it is.",
    }

    INVALID_STREAM_ID = {
        code: "InvalidStreamId",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The id is not a valid stream id.",
        why: "A stream id is the invocation id that the client chose: 1 to 100 characters, not only white space.",
        action: "Use the id of the client's stream invocation; percent-encode it in the path.",
    }

    INVALID_COMPLETED = {
        code: "InvalidCompleted",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "`completed` is neither `true` nor `false`.",
        why: "It says whether an item is the last.",
        action: "Write `completed=true`, or leave it out.",
    }

    INVALID_ALLOW_RECONNECT = {
        code: "InvalidAllowReconnect",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "`allowReconnect` is neither `true` nor `false`.",
        why: "It says whether clients whose connections are closed may reconnect.",
        action: "Write `allowReconnect=false`, or leave it out.",
    }

    INVALID_CONNECTION = {
        code: "InvalidConnection",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The connection to watch has no valid connection id.",
        why: "A connection id has 27 characters of URL-safe base64.",
        action: "Use an id from a list or an event.",
    }

    INVALID_MINUTES_TO_EXPIRE = {
        code: "InvalidMinutesToExpire",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The lifetime for a client's token is not valid.",
        why: "`minutesToExpire` is not a whole number, less than 1 or more than a year.",
        action: "Write for example `minutesToExpire=60`.",
    }

    CLIENT_INVOCATION_FAILED = {
        code: "ClientInvocationFailed",
        statuses: [BAD_REQUEST],
        fault: Upstream,
        retry: No,
        happened: "The client completed `:invoke` with an error, which is the message; or its result cannot be expressed in JSON.",
        why: "The client's method failed, does not exist, or returns no result.",
        action: "The message says; correct the client. An invocation may be repeated only if it may run twice.",
    }

    INVOCATION_TIMEOUT = {
        code: "InvocationTimeout",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: Upstream,
        retry: No,
        happened: "The client did not complete `:invoke`.",
        why: "It took longer than `invoke_timeout_ms`. The client's method may have run.",
        action: "Let the method complete sooner, or raise the limit. Repeat the request only if the method may run twice.",
    }

    TOO_MANY_INVOCATIONS = {
        code: "TooManyInvocations",
        statuses: [TOO_MANY_REQUESTS],
        fault: Upstream,
        retry: Later,
        happened: "The client has too many open invocations.",
        why: "It does not complete them, or is invoked faster than it can.",
        action: "Wait for results before you invoke it again.",
    }

    TOO_MANY_WATCHERS = {
        code: "TooManyWatchers",
        statuses: [TOO_MANY_REQUESTS],
        fault: Service,
        retry: Later,
        happened: "The limit of watchers is reached.",
        why: "`watchers_max` callers watch already.",
        action: "Close a watcher, or raise the limit.",
    }

    INVALID_KEY = {
        code: "InvalidKey",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The account key cannot be set.",
        why: "It is empty, or one that the emulators publish outside of development mode, or is to be renewed as well.",
        action: "Choose another one, or let one be made with `renew`.",
    }

    STORE_FAILED = {
        code: "StoreFailed",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: Service,
        retry: Later,
        happened: "The change could not be written to disk; nothing was changed.",
        why: "The disk is full or fails; the log has the cause.",
        action: "Free space, then retry.",
    }

    BODY_TOO_LARGE = {
        code: "BodyTooLarge",
        statuses: [PAYLOAD_TOO_LARGE],
        fault: Caller,
        retry: AfterChange,
        happened: "The body is too large.",
        why: "The limit is `body_bytes_max` (1 MiB by default).",
        action: "Send less, such as an id that clients look up, or raise the limit.",
    }

    BROKEN_BODY = {
        code: "BrokenBody",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: Later,
        happened: "The body ended early.",
        why: "The sender, or a proxy between, closed the connection, or sent more slowly than the listener allows ([edge](edge.md)).",
        action: "Send it again. Nothing was sent to a client.",
    }

    NO_ROOM_FOR_BODY = {
        code: "NoRoomForBody",
        statuses: [SERVICE_UNAVAILABLE],
        fault: Service,
        retry: After(Duration::from_secs(5)),
        happened: "There was no memory for the body.",
        why: "All bodies of the process together have used `bodies.memory_bytes_max` while this one waited `bodies.wait_ms`; or it arrived slowly while others waited.",
        action: "Send it again after that time. Nothing was sent to a client. If it lasts, raise the limit; the metric `chappe_bodies_held_bytes` shows the use.",
    }

    BUSY = {
        code: "Busy",
        statuses: [SERVICE_UNAVAILABLE],
        fault: Service,
        retry: Later,
        happened: "The command queue of a shard is full.",
        why: "More is sent than the shards can deliver (`engine.commands_max`).",
        action: "Send again in a moment, or send less.",
    }

    HISTORY_UNAVAILABLE = {
        code: "HistoryUnavailable",
        statuses: [INSUFFICIENT_STORAGE],
        fault: Service,
        retry: Later,
        happened: "A message to a hub or group with a history could not be recorded, and was not sent.",
        why: "The disk is full or fails; the message says which.",
        action: "Free space, and send again.",
    }

    TOO_MANY_GROUPS = {
        code: "TooManyGroups",
        statuses: [TOO_MANY_REQUESTS],
        fault: Caller,
        retry: AfterChange,
        happened: "The connection cannot join another group.",
        why: "`engine.connection_groups_max` is reached.",
        action: "Remove it from groups that it no longer needs, or raise the limit.",
    }

    TOO_MANY_USER_GROUPS = {
        code: "TooManyUserGroups",
        statuses: [TOO_MANY_REQUESTS],
        fault: Service,
        retry: AfterChange,
        happened: "The limit of memberships of users in groups is reached.",
        why: "`engine.user_groups_max` memberships are stored.",
        action: "Set a `ttl`, remove users from groups that have ended, or raise the limit.",
    }
}
