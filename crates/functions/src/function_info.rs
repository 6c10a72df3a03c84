//! The functions of an app for display, and the list that is printed when it has started, in the form of Core Tools.

use crate::function::Trigger;

use crate::generation::Generation;

/// One function, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Its name.
    pub name: String,
    /// Whether it can run.
    pub state: FunctionState,
    /// The type of its trigger, such as `httpTrigger`; empty when it is in error.
    pub trigger: String,
    /// Its HTTP methods; empty = all, or not an HTTP function.
    pub methods: Vec<String>,
    /// Its route with the prefix, such as `api/cards/{id}`; `None` if it is not an HTTP function.
    pub route: Option<String>,
    /// Its schedule, if it is a timer.
    pub schedule: Option<String>,
}

/// Whether a function can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionState {
    /// It can run.
    Ready,
    /// The settings of the app disable it.
    Disabled,
    /// It cannot run.
    InError {
        /// The stable code of the error.
        code: &'static str,
        /// What is wrong with the function, and what to do.
        reason: String,
    },
}

/// The text for a function that cannot run, as the Azure Functions host writes it.
pub(crate) fn in_error(name: &str, why: &str) -> String {
    format!("The '{name}' function is in error: {why}")
}

impl Generation {
    /// All functions by name, including those in error.
    pub(crate) fn infos(&self) -> Vec<FunctionInfo> {
        let ready = self.functions.iter().map(|function| {
            let declaration = &function.declaration;
            let state = if declaration.is_disabled { FunctionState::Disabled } else { FunctionState::Ready };
            let (methods, route, schedule) = match &declaration.trigger {
                Trigger::Http(http) => {
                    let methods = http.methods.iter().map(|method| method.as_str().to_owned()).collect();
                    (methods, Some(http.template.source().to_owned()), None)
                }
                Trigger::Timer(timer) => (Vec::new(), None, Some(timer.schedule_text.clone())),
                Trigger::Manual | Trigger::Source | Trigger::Push => (Vec::new(), None, None),
            };
            let trigger = declaration.trigger_spec.spec.kind.clone();
            FunctionInfo { name: function.name().to_owned(), state, trigger, methods, route, schedule }
        });
        let in_error = self.errors.iter().map(|(name, why)| FunctionInfo {
            name: name.clone(),
            state: FunctionState::InError { code: why.description.code, reason: why.to_string() },
            trigger: String::new(),
            methods: Vec::new(),
            route: None,
            schedule: None,
        });
        let mut all: Vec<FunctionInfo> = ready.chain(in_error).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

/// The list as text. `base` is the address that clients use, such as `http://localhost:7071`.
pub(crate) fn startup_listing(functions: &[FunctionInfo], base: &str) -> String {
    let base = base.trim_end_matches('/');
    let mut text = String::from("\nFunctions:\n");
    for function in functions {
        let name = &function.name;
        let line = match (&function.state, &function.route) {
            (FunctionState::InError { reason, .. }, _) => in_error(name, reason),
            (FunctionState::Disabled, _) => format!("Function {name} is disabled."),
            (FunctionState::Ready, Some(route)) => {
                let methods =
                    if function.methods.is_empty() { "ANY".to_owned() } else { function.methods.join(",") };
                format!("{name}: [{methods}] {base}/{route}")
            }
            (FunctionState::Ready, None) => format!("{name}: {}", function.trigger),
        };
        text.push_str(&format!("\n\t{line}\n"));
    }
    if functions.is_empty() {
        text.push_str("\n\tnone found\n");
    }
    text
}
