//! Errors of the configuration, of the command line and of the demo.

http_messages::error_table! {
    /// Errors of the configuration, in the order of `docs/errors/start.md`.
    #[cfg(test)]
    pub(crate) CONFIGURATION;

    FILE_UNREADABLE = {
        code: "config-file-unreadable",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"cannot read the configuration file ...\".",
        why: "The file that `--config` or `CHAPPE_CONFIG` names does not exist, or this user may not read it.",
        action: "Correct the path, or leave it out: `chappe.toml` in the app's folder is read if it exists.",
    }

    INVALID = {
        code: "config-invalid",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"FILE:LINE: ...\", \"the environment variable ...: ...\" or \"the flag ...: ...\": a key is unknown, or a value cannot be used.",
        why: "The text says what is wrong; for an unknown key it names the most similar one.",
        action: "Correct it as the text says; [configuration](../configuration.md) lists all keys.",
    }

    SERVICE_INVALID = {
        code: "config-service-invalid",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"[section]: ...\": a service cannot run with its options.",
        why: "Options contradict each other, a route has no target or a duplicate path, or two services share an account or an app. The text says which.",
        action: "Correct it as the text says.",
    }

    HALF_CERTIFICATE = {
        code: "config-half-certificate",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"tls.certificate_file and tls.key_file belong together\".",
        why: "One of them is missing.",
        action: "Set both, or neither for a development certificate.",
    }

    BODY_LIMIT = {
        code: "config-body-limit",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"... is N, but bodies.... leaves room for bodies of at most M\".",
        why: "All bodies together may use `bodies.memory_bytes_max`, of which an eighth is reserved for small ones, and `bodies.disk_bytes_max`. A body of the size that the first option allows could never be read.",
        action: "Lower the first option, or raise the second.",
    }

    REALTIME = {
        code: "config-realtime",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "The realtime service cannot run with its options, such as \"primary_key is empty\" or \"... is a key that the emulators publish\".",
        why: "With an empty key anyone could sign tokens; the keys of the emulators are public, and other machines can connect. Upstream templates, history rules and names are checked too.",
        action: "Correct the option that the text names. Without a key in the configuration, one is generated when it is needed.",
    }

    DOCUMENTS = {
        code: "config-documents",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"option ...: ...\": the document service cannot run with this option.",
        why: "The text says which values are valid; account keys are base64.",
        action: "Correct the option; copy keys completely, including their `=` signs.",
    }

    EGRESS = {
        code: "config-egress",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"a proxy with `...://` is not supported\"; \"the address of a proxy is malformed\"; a file of `egress.extra_root_files` contains no certificate.",
        why: "`[egress]`, or a variable such as `HTTPS_PROXY`, names a proxy or a file that cannot be used. Only proxies with `http://` are supported.",
        action: "Correct it, or unset the variable.",
    }
}

http_messages::error_table! {
    /// Errors of commands, in the order of `docs/errors/start.md`.
    #[cfg(test)]
    pub(crate) COMMANDS;

    COMMAND_LINE = {
        code: "command-line",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"unexpected argument\"; \"invalid value\"; \"a value is required\"; \"unrecognized subcommand\".",
        why: "The command line cannot be parsed. The text names the argument, and the most similar one.",
        action: "Correct it; `chappe start --help` lists all flags.",
    }

    FUNC_FLAG = {
        code: "command-func-flag",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"... of Functions Core Tools has no meaning here: ...\".",
        why: "The flag of `func start` has no effect in this process, so it is rejected instead of ignored.",
        action: "Use what the text names instead.",
    }

    CHECK = {
        code: "check-problem",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "`chappe check` or `chappe gateway` reports a problem.",
        why: "The text says what prevents the app from running, or what is wrong with the gateway's configuration; [functions](functions.md#functions-in-error) explains functions in error.",
        action: "Correct it, and run the command again.",
    }

    TRUST_FOLDER = {
        code: "trust-no-folder",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"the folder ... does not exist; name the app's folder\".",
        why: "`chappe trust` creates no folder; most often the name is misspelt.",
        action: "Correct it, or name the data folder with `--data-dir`.",
    }

    TRUST_OWN_CERTIFICATE = {
        code: "trust-own-certificate",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"clients see the certificate in ... (tls.certificate_file), which no development authority signed\".",
        why: "The process uses a configured certificate, so there is no development authority to trust.",
        action: "Let clients trust the issuer of that certificate.",
    }

    NO_PROCESS = {
        code: "command-no-process",
        statuses: [],
        fault: Operator,
        retry: Later,
        happened: "\"no process responds at ...\".",
        why: "No process runs at this address, or `--url` names another program.",
        action: "Start one with `chappe start`, or name its gateway with `--url`.",
    }

    REQUEST_REJECTED = {
        code: "command-rejected",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"... returned STATUS: ...\".",
        why: "The process rejected the request; the code in the text is one of [admin](admin.md).",
        action: "Do what that code says.",
    }

    NOT_OUR_RESPONSE = {
        code: "command-not-a-process",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"the response of ... is not a trace\"; \"... is not a valid address\"; another response that Chappe does not send.",
        why: "`--url` names another program, or is not a URL.",
        action: "Name the gateway of a Chappe process, such as `http://localhost:8080`.",
    }

    PROCESS_LOST = {
        code: "command-process-lost",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "\"the connection to the process was lost\".",
        why: "The process ended.",
        action: "Start it, and run the command again.",
    }

    DEMO_NOT_THE_EXAMPLE = {
        code: "demo-not-the-example",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"... is not the example: it has no host.json\".",
        why: "The folder exists and contains other files, which are not overwritten.",
        action: "Name another folder with `--folder`, or remove this one.",
    }

    DEMO_NOT_CONFIRMED = {
        code: "demo-not-confirmed",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"the example is not in ... yet, and was not confirmed\".",
        why: "There is no terminal to ask at, or the answer was not yes. The example, its packages and its data would be written below the current folder.",
        action: "Use `--yes`, or name a folder with `--folder`.",
    }

    DEMO_UNPACK = {
        code: "demo-unpack",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"cannot write the example to ...\".",
        why: "The cause is the error of the operating system, such as missing permission or a full disk.",
        action: "Name another folder with `--folder`.",
    }

    DEMO_NO_NODE = {
        code: "demo-no-node",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"the demo needs Node.js 20 or newer: `npm` was not found\".",
        why: "The example's functions run in Node.js.",
        action: "Install Node.js 20 or newer with npm.",
    }

    DEMO_NPM = {
        code: "demo-npm",
        statuses: [],
        fault: Operator,
        retry: Later,
        happened: "\"npm could not install the packages of the example\".",
        why: "npm failed; its own message is above. Usually there is no network, or no access to the registry.",
        action: "Correct that, or run `npm ci` in the folder.",
    }
}
