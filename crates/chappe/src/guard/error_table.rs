//! Descriptions of the guard's error codes.

http_messages::error_table! {
    /// The errors of the guard, in the order of `docs/errors/guard.md`.
    #[cfg(test)]
    pub(crate) ERRORS;

    HOST_NOT_ALLOWED = {
        code: "guard-host-not-allowed",
        statuses: [FORBIDDEN],
        fault: Caller,
        retry: AfterChange,
        happened: "The host name of the request is not a name of this process.",
        why: "In development mode (only this machine can connect) the keys are public. A page of another site can let a name of its own lead to this machine (DNS rebinding) and would then have the same origin. So only `localhost`, `*.localhost`, IP addresses, the names that containers have for their host, the host of `public_url` and the names in `guard.hosts` are admitted. Outside of development mode, names are checked as soon as `guard.hosts` has one.",
        action: "Use `localhost`, or add the name: `guard.hosts = [\"dev.example.test\"]` in `chappe.toml`. See [guard](../guard.md).",
    }

    FOREIGN_PAGE = {
        code: "guard-foreign-page",
        statuses: [FORBIDDEN],
        fault: Caller,
        retry: AfterChange,
        happened: "A web page sent the request, and pages of its site may not request this path.",
        why: "The browser names the site of the page (`Origin`, `Sec-Fetch-Site`). A page of another site could use the public keys of development mode, or the trust in this machine, without the knowledge of the user.",
        action: "Use a program, or a page that this process serves. For your own pages under another name, add that name to `guard.hosts`. The table in [guard](../guard.md) says which pages may request what.",
    }
}
