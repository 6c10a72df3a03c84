//! Errors of ports, of the machine, and of the running process.

http_messages::error_table! {
    /// Errors of ports, in the order of `docs/errors/start.md`.
    #[cfg(test)]
    pub(crate) PORTS;

    CONFIGURED_PORT = {
        code: "port-configured",
        statuses: [],
        fault: Operator,
        retry: Later,
        happened: "\"... cannot have the address that is configured for it\". The process ends.",
        why: "A file, a variable, a flag or `LocalHttpPort` names the port, so clients expect the service there. The cause says what uses the port.",
        action: "Stop that program, or configure another port; port 0 uses any free one.",
    }

    DEFAULT_PORT = {
        code: "port-default",
        statuses: [],
        fault: Operator,
        retry: Later,
        happened: "\"... cannot have its default address\". The process ends.",
        why: "The port is taken, and other machines can connect (a service listens beyond loopback, or `public_url` is set): their clients could not learn another port.",
        action: "Set `listen.<service>` to a free address, or to `off`.",
    }

    MOVED_PORT = {
        code: "port-moved",
        statuses: [],
        fault: Operator,
        retry: Later,
        happened: "\"localhost:... is taken by ...: ... listens on ... instead\". The process starts.",
        why: "A default port is taken, in development mode; most often by another Chappe, Functions Core Tools or an emulator.",
        action: "Use the port in the log; or stop the other program, or set `listen.<service>`.",
    }
}

http_messages::error_table! {
    /// Errors of the machine and of the running process, in the order of `docs/errors/start.md`.
    #[cfg(test)]
    pub(crate) PROCESS;

    RUNTIME = {
        code: "process-runtime",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "\"start the runtime\"; \"start the shards of the realtime service\"; \"cannot start a documents thread\".",
        why: "The operating system creates no more threads or files: a limit of the user or container is reached.",
        action: "Raise it (`ulimit -u`, `ulimit -n`, the pid limit of the container), or set fewer `realtime.engine.shards`.",
    }

    PART_ENDED = {
        code: "process-part-ended",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "\"the part '...' has ended: ...\". The process drains for 3 s and ends with code 70.",
        why: "A thread or task that the process needs has ended: a defect of this program; the log has the place. No acknowledged data is lost.",
        action: "Let the service manager (systemd, Docker, Kubernetes) start the process again, and report the log.",
    }

    NOT_DRAINED = {
        code: "process-not-drained",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "\"not drained within ... s: still waiting for ...\". The process ends with code 1.",
        why: "Connections or invocations ran longer than `drain_timeout_ms`, `edge.drain_timeout_ms` and 5 seconds together; their work is aborted.",
        action: "Raise `drain_timeout_ms` if they need longer.",
    }

    OTHER = {
        code: "process-failed",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "Another error; the text and its causes say what failed.",
        why: "An error without a code of its own.",
        action: "Remove the cause; report it if the text does not say how.",
    }
}
