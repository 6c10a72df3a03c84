//! Descriptions of the errors of a listener: responses that the listener sends before a service sees the request, and reasons for
//! which it closes a connection. The latter have no response; their codes are in the log.

use std::time::Duration;

http_messages::error_table! {
    /// The responses of listeners, in the order of `docs/errors/edge.md`.
    pub RESPONSE_ERRORS;

    NO_HOST = {
        code: "edge-no-host",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The request has no `Host` field.",
        why: "HTTP/1.1 requires one.",
        action: "Send the host name, for example `Host: localhost:8080`.",
    }

    SEVERAL_HOSTS = {
        code: "edge-several-hosts",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The request has more than one `Host` field.",
        why: "Two servers could read such a request differently, which attackers exploit.",
        action: "Send exactly one.",
    }

    MALFORMED_HOST = {
        code: "edge-malformed-host",
        statuses: [BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The `Host` field is not a host name with an optional port.",
        why: "It has a scheme, a user, a path, or characters that are not allowed in a name.",
        action: "Send a name or an address with an optional port.",
    }

    CONNECT_NOT_SUPPORTED = {
        code: "edge-not-a-proxy",
        statuses: [NOT_IMPLEMENTED],
        fault: Caller,
        retry: AfterChange,
        happened: "The client sent `CONNECT`, which only proxies accept.",
        why: "A proxy setting of the client names this address.",
        action: "Correct the proxy setting.",
    }

    HEAD_TOO_LARGE = {
        code: "edge-head-too-large",
        statuses: [REQUEST_HEADER_FIELDS_TOO_LARGE],
        fault: Caller,
        retry: AfterChange,
        happened: "The request line and the headers are too large.",
        why: "They have more than `head_bytes_max` bytes or `head_fields_max` fields; often cookies that accumulate. A page of another origin can read this response. On HTTP/1.1 the connection is closed after it; an HTTP/2 head above four times the limit gets the status without a body.",
        action: "Send fewer or shorter headers, or raise the limit. `chappe_edge_requests_refused_total` counts these responses.",
    }

    TOO_MANY_STREAMS = {
        code: "edge-too-many-streams",
        statuses: [SERVICE_UNAVAILABLE],
        fault: Service,
        retry: After(Duration::from_secs(5)),
        happened: "The clients of this address have too many concurrent requests on HTTP/2.",
        why: "`http2_streams_per_address_max` is reached, over all connections of the address. Behind a proxy that speaks HTTP/2 to this port, all clients have the address of the proxy.",
        action: "Wait until some requests have ended; behind a proxy raise the limit. `chappe_edge_requests_refused_total` counts these responses.",
    }

    TOO_MUCH_UNREAD = {
        code: "edge-too-many-unread-responses",
        statuses: [SERVICE_UNAVAILABLE],
        fault: Caller,
        retry: After(Duration::from_secs(5)),
        happened: "The clients of this address do not read earlier responses.",
        why: "The unread responses use more than `unsent_bytes_per_address_max`; or those of all addresses use more than `unsent_bytes_max`, and this address more than an equal share.",
        action: "Read responses as they arrive; raise the limits if clients request many large responses at a time. `chappe_edge_requests_refused_total` counts these responses.",
    }
}

http_messages::error_table! {
    /// Why listeners close connections, in the order of `docs/errors/edge.md`.
    pub CONNECTION_ERRORS;

    CONNECTION_FAILED = {
        code: "edge-connection-failed",
        statuses: [],
        fault: Caller,
        retry: Later,
        happened: "The connection was lost.",
        why: "The client or a proxy closed it without the end that TCP or TLS prescribes, or the network failed.",
        action: "Connect again, as clients do by themselves.",
    }

    HEAD_TIMEOUT = {
        code: "edge-head-timeout",
        statuses: [],
        fault: Caller,
        retry: Later,
        happened: "The connection is closed without a response: the headers of a request did not arrive in time.",
        why: "The client sent a part of a request and then nothing for `head_timeout_ms`, or no request for `idle_timeout_ms`.",
        action: "Send requests without pauses, or connect again, as clients do by themselves.",
    }

    HANDSHAKE_TIMEOUT = {
        code: "edge-tls-timeout",
        statuses: [],
        fault: Caller,
        retry: Later,
        happened: "The TLS handshake did not finish within `tls_handshake_timeout_ms`.",
        why: "The client or the network is slow, or the client does not speak TLS.",
        action: "Connect again; raise the limit for slow networks.",
    }

    HANDSHAKE_FAILED = {
        code: "edge-tls-failed",
        statuses: [],
        fault: Caller,
        retry: AfterChange,
        happened: "The TLS handshake failed.",
        why: "The client does not trust the certificate, the certificate does not have the requested name, or the client supports only old versions of TLS. Without a configured certificate, a development authority issues one for the names of this machine.",
        action: "Trust the authority as [`chappe trust`](../trust.md) explains, or use `http://` on the same port. `chappe_edge_tls_failures_total` counts failed handshakes.",
    }

    TLS_UNEXPECTED = {
        code: "edge-tls-not-configured",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "The client began a TLS handshake, and this port has no certificate.",
        why: "The address begins with `https://`, and no certificate is configured.",
        action: "Use `http://`, or set `tls.certificate_file` and `tls.key_file`.",
    }

    CLOSE_TIMEOUT = {
        code: "edge-close-timeout",
        statuses: [],
        fault: Caller,
        retry: Later,
        happened: "The client did not close a connection after the last response.",
        why: "The process is shutting down, and clients get a bounded time to close connections.",
        action: "None: clients connect again by themselves.",
    }

    PROTOCOL_VIOLATED = {
        code: "edge-not-http",
        statuses: [],
        fault: Caller,
        retry: AfterChange,
        happened: "The bytes on the connection are not valid HTTP; some clients get an empty response with status 400.",
        why: "The request line or a header is malformed, or the client left in the middle of a request.",
        action: "Use an HTTP client; look for a proxy that changes requests.",
    }

    CONNECTIONS_LIMIT = {
        code: "edge-too-many-connections",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "A new connection is closed at once.",
        why: "`connections_max` or `connections_per_address_max` is reached, or the process may open no more files, and no connection has been silent for `silent_after_ms` (logged once); or the process is shutting down. Behind a proxy all connections have the address of the proxy.",
        action: "Try again later, or raise the limit; behind a proxy set `connections_per_address_max` to `connections_max`. `chappe_edge_connections_refused_total` counts these connections.",
    }

    EVICTED = {
        code: "edge-connection-evicted",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "A connection without a request is closed to make room for a new one.",
        why: "One of the limits above is reached. Connections that never sent a byte are closed first, then those that never sent a complete request, then those between two requests; among these, the one that has been silent longest.",
        action: "None: clients connect again by themselves. `chappe_edge_connections_evicted_total` counts these connections.",
    }

    BODY_TOO_SLOW = {
        code: "edge-body-too-slow",
        statuses: [],
        fault: Caller,
        retry: Later,
        happened: "\"the body arrives too slowly\": the rest of the body of a request is not read, and the service reports an incomplete body.",
        why: "Fewer than `body_bytes_per_second_min` bytes a second arrived over the last `body_window_ms` in which the service waited for them, or the first bytes arrived later than `body_grace_ms`. Earlier bytes do not count, so a pause has a limit too.",
        action: "Send faster; let a client with pauses use separate requests; or lower the rate.",
    }

    RESPONSE_UNREAD = {
        code: "edge-response-not-read",
        statuses: [],
        fault: Caller,
        retry: Later,
        happened: "The connection is closed in the middle of a response; an HTTP/2 stream is reset with `CANCEL`.",
        why: "The client read nothing for `write_timeout_ms`, or less than `write_bytes_per_second_min` over that time. On HTTP/2: it granted this stream no window, or a few bytes only, for that time.",
        action: "Read the response, or raise the limit. `chappe_edge_answers_cut_total` counts these responses.",
    }

    UNREAD_LIMIT = {
        code: "edge-unread-limit",
        statuses: [],
        fault: Caller,
        retry: Later,
        happened: "\"too many bytes of responses wait for the clients of this address to read them\": a response is aborted (HTTP/2: `INTERNAL_ERROR`).",
        why: "As for `edge-too-many-unread-responses`, for a response that had begun.",
        action: "Read responses as they arrive, or raise the limits. `chappe_edge_answers_cut_total` counts these responses.",
    }
}

http_messages::error_table! {
    /// Why a listener has no port, in the order of `docs/errors/start.md`.
    pub BIND_ERRORS;

    PORT_TAKEN = {
        code: "edge-port-taken",
        statuses: [],
        fault: Operator,
        retry: Later,
        happened: "\"cannot listen on ...: ... already listens there\".",
        why: "Another program uses the port. Its process id and command are in the text if this user may see them (on Linux).",
        action: "Stop that program, or choose another port; port 0 uses any free one.",
    }

    PORT_FORBIDDEN = {
        code: "edge-port-forbidden",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"cannot listen on ...: the operating system forbids it\".",
        why: "Ports below 1024 need a privilege that this user does not have.",
        action: "Choose a higher port, or grant the privilege (on Linux `CAP_NET_BIND_SERVICE`).",
    }

    NO_SUCH_ADDRESS = {
        code: "edge-no-such-address",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"cannot listen on ...: this machine has no such address\".",
        why: "`listen` names an address of another machine.",
        action: "Use an address of this machine: `127.0.0.1` for this machine only, `0.0.0.0` for all.",
    }

    BIND_FAILED = {
        code: "edge-bind-failed",
        statuses: [],
        fault: Operator,
        retry: Later,
        happened: "\"cannot listen on ...\".",
        why: "The cause is the error of the operating system.",
        action: "Remove the cause, or choose another address.",
    }
}

http_messages::error_table! {
    /// Why a certificate cannot be used, in the order of `docs/errors/start.md`.
    pub CERTIFICATE_ERRORS;

    CERTIFICATE_UNREADABLE = {
        code: "edge-certificate-unreadable",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"cannot read certificates in PEM form from ...\"; \"... contains no certificate\".",
        why: "The file `tls.certificate_file` does not exist, this user may not read it, or it is not PEM.",
        action: "Name a file with a section that begins with `BEGIN CERTIFICATE`.",
    }

    KEY_UNREADABLE = {
        code: "edge-key-unreadable",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"read a private key in PEM form ...\".",
        why: "The file `tls.key_file` does not exist, this user may not read it, it is encrypted, or it is not PEM.",
        action: "Decrypt it (`openssl pkey`), or name the right file.",
    }

    CERTIFICATE_WITHOUT_ITS_KEY = {
        code: "edge-certificate-key-mismatch",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"cannot use the certificate ... with the key ...\".",
        why: "The key does not belong to the certificate, often because only one of them was renewed; or TLS does not support their type.",
        action: "Name the two files that belong together.",
    }

    AUTHORITY_FILE = {
        code: "edge-authority-file",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"cannot read or write the development certificate authority in ...\".",
        why: "The folder `tls` in the data folder cannot be read or written; the cause says why.",
        action: "Correct the permissions, or free disk space.",
    }

    AUTHORITY_DAMAGED = {
        code: "edge-authority-damaged",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"... is damaged; delete it, and a new authority is made\".",
        why: "The file was edited or truncated.",
        action: "Delete the file. The new authority must be trusted again: see [`chappe trust`](../trust.md).",
    }

    AUTHORITY_FAILED = {
        code: "edge-authority-failed",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"cannot create a development certificate\"; \"cannot use a development certificate\".",
        why: "A defect of this program; the cause has the details.",
        action: "Report it; until then, configure a certificate (`tls.certificate_file`, `tls.key_file`).",
    }
}
