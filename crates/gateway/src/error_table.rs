//! What each code of the gateway's own responses means.

http_messages::error_table! {
    /// The errors of the gateway, in the order of `docs/errors/gateway.md`.
    pub ERRORS;

    NO_ROUTE = {
        code: "gateway-no-route",
        statuses: [NOT_FOUND],
        fault: Caller,
        retry: AfterChange,
        happened: "No route matches the path.",
        why: "Routes are the entries under `[[gateway.routes]]` in `chappe.toml`; the longest matching path wins, in whole segments. Without any entry, `/api` leads to functions, `/client` to the realtime service and `/chappe` to the process itself.",
        action: "Add a route with this path and a `service` or a `directory`, or correct the address.",
    }

    NO_FILE = {
        code: "gateway-no-file",
        statuses: [NOT_FOUND],
        fault: Caller,
        retry: AfterChange,
        happened: "The route serves a folder, and the file is not in it.",
        why: "There is no file with this path, its name begins with a dot, or a symbolic link or `..` leads out of the folder. Such files are never served, nor are named pipes, devices and sockets.",
        action: "Check the path and the route's `directory`; a relative `directory` starts at the folder of the configuration file.",
    }

    FILE_METHOD = {
        code: "gateway-file-method",
        statuses: [METHOD_NOT_ALLOWED],
        fault: Caller,
        retry: AfterChange,
        happened: "The route serves files, and the method is neither GET nor HEAD.",
        why: "Files can only be read.",
        action: "Send the request to a route that leads to a service.",
    }

    FILE_UNREADABLE = {
        code: "gateway-file-unreadable",
        statuses: [INTERNAL_SERVER_ERROR],
        fault: Service,
        retry: Later,
        happened: "The file exists but cannot be read.",
        why: "The cause is its permissions, the disk, or a network file system that does not respond: at most 16 file operations run at a time, and a request waits 10 seconds for its turn. The log has the cause.",
        action: "Let the user that runs Chappe read the file.",
    }
}
