//! Why a function is in error: its declaration or its code cannot be used. The other functions of the app run.

http_messages::error_table! {
    /// In the order of `docs/errors`.
    pub(crate) ERRORS;

    TRIGGER_COUNT = {
        code: "functions-trigger-count",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"it has no bindings\"; \"it has no trigger\"; \"it has N triggers\".",
        why: "A function has exactly one trigger: a binding whose type ends in `Trigger`.",
        action: "Declare one; split a function that has more.",
    }

    INVALID_NAME = {
        code: "functions-invalid-name",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"'...' is not a valid function name\"; \"another function has the same name\".",
        why: "A name begins with a letter, has at most 128 letters, digits, `_` and `-`, is not `host`, and differs from other names by more than case.",
        action: "Rename the function.",
    }

    MALFORMED_BINDING = {
        code: "functions-malformed-binding",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"a binding is not JSON\"; \"a binding has no name\"; \"two bindings are named '...'\"; \"'...' is not a valid binding name\"; \"direction inout, which is not supported\".",
        why: "The binding violates the rule in the text.",
        action: "Correct the binding.",
    }

    UNKNOWN_BINDING_TYPE = {
        code: "functions-unknown-binding-type",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"the binding '...' has type '...', which is not supported; use one of ...\".",
        why: "The type is misspelt, or no connector supports it.",
        action: "Use one of the listed types.",
    }

    UNUSABLE_BINDING = {
        code: "functions-unusable-binding",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"the binding '...' cannot be used: ...\".",
        why: "A property of the binding, or the setting that it names, is missing or wrong; the rest of the text says which.",
        action: "Correct the binding; put settings into `local.settings.json` (Values) or the environment.",
    }

    MISSING_SETTING = {
        code: "functions-missing-setting",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"the setting \"...\" is missing\"; \"the settings ... are missing\".",
        why: "A binding names a setting, as its connection or as `%NAME%`, that is neither in `local.settings.json` (Values) nor in the environment. The log reports it once for all functions that need it, with the most similar existing name and the line to add.",
        action: "Add that line, or correct the name.",
    }

    INVALID_SCHEDULE = {
        code: "functions-invalid-schedule",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"the schedule ... is neither a cron expression ... nor a time span\"; \"the timerTrigger has no schedule\".",
        why: "A cron expression has six fields here, seconds first.",
        action: "Correct it, such as `0 */5 * * * *`.",
    }

    INVALID_ROUTE = {
        code: "functions-invalid-route",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"the route ... is not valid\"; \"The specified route conflicts with one or more built in routes\".",
        why: "The route has unpaired braces or an unknown constraint, or begins with `admin` or `runtime`.",
        action: "Correct `route`.",
    }

    ROUTE_CONFLICT = {
        code: "functions-route-conflict",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"The route specified conflicts with the route defined by function '...'\".",
        why: "Two functions have the same route and a common method; the first by name gets the requests.",
        action: "Give one of them another route or other methods.",
    }

    EVENTS_CONFLICT = {
        code: "functions-events-conflict",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"it waits for the same events as the function '...'\".",
        why: "Two functions have triggers for the same events; the first by name gets them.",
        action: "Change or remove one of the two.",
    }

    INVALID_HTTP_TRIGGER = {
        code: "functions-invalid-http-trigger",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"unknown authLevel '...'; use anonymous, function or admin\"; \"methods has ..., which is no HTTP method\".",
        why: "The value is misspelt.",
        action: "Use one of the names in the text.",
    }

    INVALID_RETRY_POLICY = {
        code: "functions-invalid-retry-policy",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "The retry policy cannot be used, such as \"the retry policy fixedDelay has no delayInterval\".",
        why: "A property is missing or out of range.",
        action: "Correct it as the text says; delays are written `hh:mm:ss`.",
    }

    INVALID_FUNCTION_JSON = {
        code: "functions-invalid-function-json",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"function.json: ...\".",
        why: "The file is not JSON, declares no bindings, or does not lead to a script.",
        action: "Correct the file as the text says.",
    }

    REJECTED_BY_WORKER = {
        code: "functions-rejected-by-worker",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "The worker reports that it cannot index the function; the text is its own.",
        why: "The worker found a mistake in the declaration.",
        action: "Correct it as the text says.",
    }

    NOT_LOADED = {
        code: "functions-not-loaded",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"the ... worker could not load it: ...\".",
        why: "The code or the entry point of the function cannot be loaded. The text has the reason from the worker, and the location if it is known.",
        action: "Correct it; the app is started again when a file changes.",
    }

    NO_FUNCTIONS = {
        code: "functions-none-found",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"No functions found in ...\".",
        why: "The worker ran the app, which registered no function: `main` in `package.json` does not name the files that call `app.http(...)` and the like.",
        action: "Correct `main`.",
    }

    NONE_SELECTED = {
        code: "functions-none-selected",
        statuses: [],
        fault: App,
        retry: AfterChange,
        happened: "\"None of the functions of the app is selected\".",
        why: "`--functions`, `functions.functions` or `functions` in `host.json` select other names.",
        action: "Correct the names there.",
    }
}
