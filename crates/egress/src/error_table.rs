//! The cause codes of failed outgoing requests. The codes are labels of a metric; the caller decides about a retry, because it
//! knows whether the request may be carried out twice.

http_messages::error_table! {
    /// The errors of outgoing requests, in the order of `docs/errors/egress.md`.
    pub ERRORS;

    ADDRESS = {
        code: "address",
        statuses: [],
        fault: Caller,
        retry: AfterChange,
        happened: "\"... is not an absolute http or https address\". Nothing was sent.",
        why: "A connection string or setting has no scheme or no host.",
        action: "Write the complete address, such as `https://name.documents.azure.com:443/`.",
    }

    RESOLVE = {
        code: "resolve",
        statuses: [],
        fault: Upstream,
        retry: Later,
        happened: "\"cannot resolve ...\": the name has no address. Nothing was sent.",
        why: "It is misspelt, or the name server does not respond.",
        action: "Correct the name; try `getent hosts <name>` on this machine.",
    }

    FORBIDDEN_ADDRESS = {
        code: "refused",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"... must not be reached from here\". Nothing was sent.",
        why: "`addresses` forbids all addresses of the host.",
        action: "Correct the address, or allow it there.",
    }

    CONNECT = {
        code: "connect",
        statuses: [],
        fault: Upstream,
        retry: Later,
        happened: "\"cannot connect to ...\": the connection was not accepted. Nothing was sent.",
        why: "No program listens there, or a firewall blocks the connection. The reason of the operating system follows.",
        action: "Start the service, or correct the port.",
    }

    CONNECT_TIMEOUT = {
        code: "connect_timeout",
        statuses: [],
        fault: Upstream,
        retry: Later,
        happened: "\"no connection to ... within ...\". Nothing was sent.",
        why: "The host, a firewall or a proxy did not respond within `connect_timeout_ms`.",
        action: "Check the network between, or raise the limit.",
    }

    PROXY = {
        code: "proxy",
        statuses: [],
        fault: Upstream,
        retry: AfterChange,
        happened: "\"the proxy ... refused a tunnel to ...\". Nothing was sent.",
        why: "The reason follows: `proxy authorization required` (the proxy requires a name and a password), or `unsuccessful` (it responded with a status other than 200; it may forbid the host).",
        action: "Correct `HTTPS_PROXY`, or name the host in `NO_PROXY`.",
    }

    TLS = {
        code: "tls",
        statuses: [],
        fault: Upstream,
        retry: AfterChange,
        happened: "\"the TLS handshake with ... failed\". Nothing was sent.",
        why: "The certificate is not trusted, has expired or is for another name, or the port does not speak TLS.",
        action: "Name its authority in `extra_root_files`, or correct the scheme and the name.",
    }

    TIMEOUT = {
        code: "timeout",
        statuses: [],
        fault: Upstream,
        retry: Later,
        happened: "\"no response within ...\". The request may have been carried out.",
        why: "The other system did not respond within `request_timeout_ms`.",
        action: "Check that system, or raise the limit.",
    }

    BODY_TOO_LARGE = {
        code: "body_too_large",
        statuses: [],
        fault: Upstream,
        retry: AfterChange,
        happened: "\"the response has more than ... bytes\". The request was carried out.",
        why: "The limit is `response_bytes_max`.",
        action: "Request less, such as smaller pages, or raise the limit.",
    }

    OVER_BUDGET = {
        code: "no_room",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "\"cannot read the response: the body waited ... seconds for memory ...\". The request was carried out.",
        why: "All bodies in the process together have used `bodies.memory_bytes_max` for longer than `bodies.wait_ms`.",
        action: "Raise the limit; look at the metric `chappe_bodies_held_bytes`.",
    }

    PROTOCOL = {
        code: "protocol",
        statuses: [],
        fault: Upstream,
        retry: Later,
        happened: "\"the HTTP exchange failed\". The request may have been carried out.",
        why: "The connection was lost, or the other system does not speak HTTP.",
        action: "Retry; check that the port is the right one.",
    }
}
