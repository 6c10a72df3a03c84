//! Why a worker does not start.

http_messages::error_table! {
    /// In the order of `docs/errors`.
    pub(crate) ERRORS;

    UNKNOWN_LANGUAGE = {
        code: "functions-unknown-language",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"no worker for language '...'\".",
        why: "`FUNCTIONS_WORKER_RUNTIME` names a language without a built-in worker; the text lists those that exist.",
        action: "Set `languageWorkers__<language>__workerDirectory` to the folder of its `worker.config.json`.",
    }

    RUNTIME_MISSING = {
        code: "functions-runtime-missing",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"cannot start '...', which runs ... functions: it is not installed or not on the PATH\".",
        why: "Functions in JavaScript need Node.js 20 or newer.",
        action: "Install it, or set `languageWorkers__node__defaultExecutablePath`.",
    }

    RUNTIME_NOT_EXECUTABLE = {
        code: "functions-runtime-not-executable",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"cannot start '...': this user may not run it\".",
        why: "The program is not executable; often an archive or a copy lost the permission.",
        action: "`chmod +x` the file that the text names.",
    }

    RUNTIME_TOO_OLD = {
        code: "functions-runtime-too-old",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"'...' is version ..., but ... functions need ... or newer\".",
        why: "The first program on the PATH is too old.",
        action: "Install a newer one, or set `languageWorkers__node__defaultExecutablePath` to it.",
    }

    WORKER_CONFIG = {
        code: "functions-worker-config",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"worker configuration ...: ...\".",
        why: "A `worker.config.json` is missing or invalid; the text says what is wrong.",
        action: "Correct it.",
    }

    WORKER_FILES = {
        code: "functions-worker-files",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "\"write the Node.js worker below ...\"; another step of the start failed.",
        why: "A file, a socket or a process cannot be created; the error of the operating system follows.",
        action: "Correct the permissions, or free disk space.",
    }

    WORKER_EXITED = {
        code: "functions-worker-exited",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"the ... worker ended (...) while it was to ...\". During operation: \"Worker process ... ended ...; another one is being started.\"",
        why: "The process ended. Its last lines follow: most often a missing package, or a module that throws an exception.",
        action: "Run `npm install`, or correct the module.",
    }

    WORKER_SILENT = {
        code: "functions-worker-silent",
        statuses: [],
        fault: App,
        retry: Later,
        happened: "\"the ... worker did not ... within ...\".",
        why: "The process does not respond: the app does long work while it loads, or waits for something.",
        action: "Do that work in the first invocation. For a worker in a folder of its own, `processOptions` in its `worker.config.json` has the timeouts.",
    }

    APP_NOT_LOADED = {
        code: "functions-app-not-loaded",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"Cannot load ...: ...\".",
        why: "A file of the app threw an exception while it was loaded, or cannot be parsed. The stack follows, without the frames of Node.js and of the worker; for a missing package the text has the command that installs it.",
        action: "Correct it; the app is started again when a file changes.",
    }

    PROTOCOL_VIOLATED = {
        code: "functions-worker-protocol",
        statuses: [],
        fault: Upstream,
        retry: AfterChange,
        happened: "\"the ... worker violated the protocol: ...\".",
        why: "The worker is for another major version of the host, or has a defect.",
        action: "Use a worker for version 4 of the host; otherwise, report it.",
    }

    START_FAILED = {
        code: "functions-worker-start-failed",
        statuses: [],
        fault: App,
        retry: Later,
        happened: "\"Worker process could not be started (N in a row): ...\".",
        why: "A worker that replaces another one did not start; the reason follows. The pause before the next attempt grows.",
        action: "Do what the reason says.",
    }

    QUARANTINED = {
        code: "functions-quarantined",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"Functions.... ended its worker process more than once. It runs in a process of its own from now on\".",
        why: "The function calls exit, throws an error that is not caught, or uses too much memory. Other functions are not affected any more.",
        action: "Correct the function. It shares a process with other functions again when it has not ended its process for a while.",
    }
}
