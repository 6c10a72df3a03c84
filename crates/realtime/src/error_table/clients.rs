//! Error codes for clients: negotiate and connect.

use std::time::Duration;

http_messages::error_table! {
    /// Error codes for clients: negotiate and connect.
    pub(crate) CLIENTS;

    MISSING_HUB = {
        code: "MissingHub",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The address names no hub.",
        why: "A client names its hub in the query.",
        action: "Connect to `/client/?hub=<name>`; the address from your negotiate function contains it.",
    }

    SEVERAL_HUBS = {
        code: "SeveralHubs",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The address names more than one hub.",
        why: "`hub` is in the query twice, often because it was added to an address that already had it.",
        action: "Remove one of them.",
    }

    INVALID_HUB = {
        code: "InvalidHub",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The name is not a valid hub name.",
        why: "A hub name begins with a letter, followed by at most 127 letters, digits and characters of ``_`,.[]``.",
        action: "Choose such a name, in the client, the token and the bindings.",
    }

    MISSING_CONNECTION_ID = {
        code: "MissingConnectionId",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The request is not a WebSocket handshake and has no `id`.",
        why: "A browser opened `/client/` as a page, or a proxy removed the `Upgrade` header.",
        action: "Connect over WebSockets. A proxy between must pass `Connection` and `Upgrade`.",
    }

    CONNECTION_IN_USE = {
        code: "ConnectionInUse",
        statuses: [CONFLICT],
        fault: Caller,
        retry: AfterChange,
        happened: "A client has connected with this id already.",
        why: "The result of negotiate is valid for one connection.",
        action: "Negotiate again for each connection, as SDK clients do.",
    }

    WEBSOCKET_HANDSHAKE = {
        code: "WebSocketHandshake",
        statuses: [BAD_REQUEST, METHOD_NOT_ALLOWED, UPGRADE_REQUIRED],
        fault: Caller,
        retry: AfterChange,
        happened: "The opening handshake of the WebSocket is not valid. The message says why.",
        why: "The client, or a proxy between, changed the request: wrong version, no key, no `Upgrade: websocket`.",
        action: "Use a WebSocket client of version 13 over HTTP/1.1; proxies must pass its headers.",
    }

    UPGRADE_UNAVAILABLE = {
        code: "UpgradeUnavailable",
        statuses: [NOT_IMPLEMENTED],
        fault: Service,
        retry: AfterChange,
        happened: "The listener cannot upgrade the connection.",
        why: "The listener passed no socket with the request; the ports of `chappe start` always do.",
        action: "In your own program, use the listener `edge` in front of the service.",
    }

    WRONG_TRANSPORT = {
        code: "WrongTransport",
        statuses: [BAD_REQUEST, METHOD_NOT_ALLOWED],
        fault: Caller,
        retry: AfterChange,
        happened: "The request belongs to another transport than the connection.",
        why: "A connection keeps its transport. A DELETE ends long polling; a WebSocket and a stream of events end by their own close.",
        action: "Close the connection by its own transport, or negotiate again.",
    }

    TOO_MANY_NEGOTIATIONS = {
        code: "TooManyNegotiations",
        statuses: [TOO_MANY_REQUESTS],
        fault: Service,
        retry: Later,
        happened: "Too many clients have negotiated and not connected.",
        why: "`negotiations_max` is reached; a negotiation is removed after `negotiation_lifetime_ms`.",
        action: "Retry in a moment. If it lasts, find the clients that negotiate and do not connect, or raise `negotiations_max`.",
    }

    TRANSPORT_DISABLED = {
        code: "TransportDisabled",
        statuses: [NOT_FOUND],
        fault: Caller,
        retry: AfterChange,
        happened: "The client is not allowed to use this transport.",
        why: "Its token lists the allowed transports, and this one is not among them.",
        action: "Let the client use another transport, or issue a token that allows this one.",
    }

    TOO_MANY_REQUESTS = {
        code: "TooManyRequests",
        statuses: [TOO_MANY_REQUESTS],
        fault: Caller,
        retry: Later,
        happened: "The connection has sent more than its app server has read, or more than 4,096 bytes before its first GET.",
        why: "A polling client sends its messages in requests, and the queue of messages is bounded.",
        action: "Connect with a GET first; send again when the earlier requests have a response; SDK clients send one at a time.",
    }

    NO_APP_SERVER = {
        code: "NoAppServer",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: Upstream,
        retry: Later,
        happened: "There is no app server for this client.",
        why: "The service runs in Default mode (`mode = \"default\"`), and no app server is connected for the hub, or not the one that the client's token requires; or it runs in Classic mode, the client negotiated with an app server (`asrs.op` in its address), and no server connection came within `servers.await_server_timeout_ms`.",
        action: "Start the app server and look at its log: it says why it cannot connect. To work without app servers, set `mode` to `serverless` or `classic`.",
    }

    TOO_MANY_HEADERS = {
        code: "TooManyHeaders",
        statuses: [REQUEST_HEADER_FIELDS_TOO_LARGE],
        fault: Caller,
        retry: AfterChange,
        happened: "The request has more headers than are forwarded to an app server.",
        why: "The app server gets the headers of the connect request, and they are in memory while the client is connected: `servers.client_headers_max`, `servers.client_header_bytes_max`. Often the cause is large cookies.",
        action: "Send fewer headers, set no cookies for this host name, or raise the limit.",
    }

    TOO_MANY_CONNECTIONS = {
        code: "TooManyConnections",
        statuses: [TOO_MANY_REQUESTS],
        fault: Service,
        retry: Later,
        happened: "The connection limit is reached.",
        why: "`engine.connections_max` connections, or the limit of the hub, are open.",
        action: "Retry later; SDK clients do. Raise the limit if the machine has memory for more.",
    }

    STOPPING = {
        code: "Stopping",
        statuses: [SERVICE_UNAVAILABLE],
        fault: Service,
        retry: After(Duration::from_secs(1)),
        happened: "The service is shutting down.",
        why: "The process was asked to end and drains.",
        action: "Retry after the time in `Retry-After`. Clients that are connected are asked to reconnect.",
    }
}
