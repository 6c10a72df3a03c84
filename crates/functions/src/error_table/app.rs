//! Why an app cannot be started.

http_messages::error_table! {
    /// In the order of `docs/errors`.
    pub(crate) ERRORS;

    NO_HOST_JSON = {
        code: "functions-no-host-json",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"no host.json in ...\".",
        why: "The folder is no function app: every app has this file.",
        action: "Change to the app's folder or name it (`chappe start <folder>`), create `host.json` with `{ \"version\": \"2.0\" }`, or start without functions: `--no-functions`.",
    }

    APP_UNREADABLE = {
        code: "functions-app-unreadable",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"read ...; check that the path names a folder that this user may read\".",
        why: "The app's folder, or a file in it, does not exist, or this user may not read it.",
        action: "Correct the path or its mode.",
    }

    APP_FILE_MALFORMED = {
        code: "functions-app-file-malformed",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\".../host.json: ...\"; \".../local.settings.json: ...\".",
        why: "The file is not JSON, has a wrong version, or a value of the wrong type. The text names the place.",
        action: "Correct it.",
    }

    NO_LANGUAGE = {
        code: "functions-no-language",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"cannot determine the language of the app in ...\".",
        why: "`FUNCTIONS_WORKER_RUNTIME` is not set, and there is no `worker.config.json`, `function_app.py`, `requirements.txt`, `package.json` or `pom.xml`.",
        action: "Set `FUNCTIONS_WORKER_RUNTIME`, for example to `node`, in `local.settings.json` (Values).",
    }

    NOT_BUILT = {
        code: "functions-not-built",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"... contains the source of an app (...), not its build output\".",
        why: "The folder is a C#, F# or Java project, which must be built first.",
        action: "Run the command in the text, and start the output.",
    }

    INVALID_SETTING = {
        code: "functions-invalid-setting",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "A setting of the app has an invalid value, such as \"the setting ... is ..., which is not a known time zone\" or \"FUNCTIONS_WORKER_PROCESS_COUNT is ..., but must be ...\".",
        why: "The text says which values are valid.",
        action: "Correct it in `local.settings.json` (Values), the environment or `host.json`.",
    }
}
