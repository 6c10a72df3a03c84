//! Error codes for app servers.

http_messages::error_table! {
    /// Error codes for app servers.
    pub(crate) SERVERS;

    TOO_MANY_SERVER_CONNECTIONS = {
        code: "TooManyServerConnections",
        statuses: [TOO_MANY_REQUESTS],
        fault: Service,
        retry: Later,
        happened: "The limit of server connections is reached.",
        why: "`servers.connections_max` are open: SDKs open five for each hub and process.",
        action: "Raise the limit, or let the SDK open fewer (`InitialHubServerConnectionCount`).",
    }

    NO_LOGIN_PROVIDER = {
        code: "NoLoginProvider",
        statuses: [UNAUTHORIZED],
        fault: Service,
        retry: AfterChange,
        happened: "An app server gets no key (in the response to its AccessKeyRequest).",
        why: "It logs in with Entra ID, and no login provider is configured here.",
        action: "Put an `AccessKey` into its connection string, or configure `openid`.",
    }
}
