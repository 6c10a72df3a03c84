//! Starts an app: indexes its functions, validates and binds them, and loads them into the workers.

mod validate;

use http_messages::{ErrorDescription, error_chain};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use jiff::tz::TimeZone;
use tokio::sync::{Semaphore, watch};
use worker_protocol::FunctionMetadata;

use crate::app::{App, index_folder};
use crate::connectors::find_connector;
use crate::error_table;
use crate::function::{Binding, BindingType, Declaration, DeclarationRules, Trigger, declare};
use crate::function_error::FunctionError;
use crate::function_info::in_error;
use crate::generation::{Generation, HttpProxying};
use crate::host_triggers::WARMUP;
use crate::http::{CorsPolicy, HttpSettings};
use crate::invoke::{Function, Invoker};
use crate::keys::AppKeys;
use crate::log::Level;
use crate::push::{PushTable, PushedFunction};
use crate::push_binding::PushBinding;
use crate::route::RouteTable;
use crate::setting_use::{SettingUse, settings_used};
use crate::shutdown::Shutdown;
use crate::timer::ScheduleMonitor;
use crate::usage::Usage;
use crate::worker::{Indexing, StartError};
use functions_contract::{Connector, Direction, PushRequest};
use validate::{hidden_by, order, without_conflicts, without_settings};

/// How long the start of an app waits for its warm-up.
const WARMUP_MAX: Duration = Duration::from_secs(60);

/// The start of one generation of the app.
pub(crate) struct AppStartup {
    /// The number of the generation.
    pub(crate) number: u64,
    pub(crate) app: App,
    pub(crate) only: Vec<String>,
    pub(crate) connectors: Vec<Arc<dyn Connector>>,
    pub(crate) zone: TimeZone,
    pub(crate) http: Arc<HttpSettings>,
    pub(crate) cors: Arc<CorsPolicy>,
    /// With the workers of the generation, which are starting.
    pub(crate) invoker: Invoker,
    pub(crate) schedule_monitor: ScheduleMonitor,
    /// Where the system keys of extensions are stored.
    pub(crate) keys: AppKeys,
    /// Ends the pauses between retries.
    pub(crate) retry_stop: watch::Sender<bool>,
    /// Counts the executions of its functions.
    pub(crate) usage: Usage,
    /// Limits of invocations at a time, by function.
    pub(crate) concurrency: BTreeMap<String, usize>,
    /// Whether each source is opened and closed once: in a check, where no trigger runs.
    pub(crate) checks_sources: bool,
}

/// The limit of a function by its name in any case.
fn concurrency_of(limits: &BTreeMap<String, usize>, function: &str) -> Option<usize> {
    limits.iter().find(|(name, _)| name.eq_ignore_ascii_case(function)).map(|(_, max)| *max)
}

impl AppStartup {
    /// Starts the app. Functions in error do not prevent the others from running.
    pub(crate) async fn run(&self) -> Result<Generation, Arc<StartError>> {
        let index = self.invoker.workers.index().await?;
        let mut errors = Vec::new();
        let metadata = match index {
            Indexing::Worker(functions) => functions,
            Indexing::Host => {
                let (functions, unreadable) = index_folder(&self.app.dir, &self.app.language);
                errors.extend(unreadable);
                functions
            }
        };
        let indexed = metadata.clone();
        let registered: Vec<String> = metadata.iter().map(|function| function.name.clone()).collect();
        let settings_used = self.settings_used(&metadata);
        for missing in settings_used.iter().filter(|setting| !setting.is_set) {
            // Logged once for all functions that need the setting; each of them is only reported as in error.
            self.invoker.logs.host_error(&error_table::declaration::MISSING_SETTING, missing.to_string());
        }
        let (metadata, lacking) = without_settings(metadata, &settings_used);
        let (declared, invalid) = self.validate(metadata);
        errors.extend(invalid);
        let (declared, conflicting) = without_conflicts(declared);
        errors.extend(conflicting);
        let mut functions = self.bind_all(declared, &mut errors).await;
        // Disabled functions are loaded too, last: the master key may call them.
        functions.sort_by_key(|function| function.declaration.is_disabled);
        let to_load = functions.iter().map(|function| function.declaration.metadata.clone()).collect();
        for response in self.invoker.workers.load(to_load).await? {
            if !response.result.is_success() {
                let failed = functions.iter().position(|function| *function.id() == response.function_id);
                if let Some(at) = failed {
                    let function = functions.remove(at);
                    let why = validate::not_loaded(&self.app.language, &response.result);
                    errors.push((function.name().to_owned(), why));
                }
            }
        }
        for (name, why) in &errors {
            self.invoker.logs.function_error(why.description, name, None, in_error(name, &why.text));
        }
        errors.extend(lacking);
        if functions.is_empty() && errors.is_empty() {
            let (description, text) = no_functions(&self.app.dir, &registered);
            self.invoker.logs.host_warning(description, text);
        }
        functions.sort_by_key(|function| order(function.name()));
        let pushes = self.pushes(&mut functions, &mut errors);
        let routes = routes(&functions);
        self.warn_about_http_retries(&functions);
        if !self.checks_sources {
            self.create_extension_keys(&pushes).await;
            self.warm_up(&pushes).await;
        }
        for (first, hidden) in routes.hidden() {
            self.invoker.logs.function(Level::Warn, hidden.name(), None, hidden_by(hidden, first));
        }
        Ok(Generation {
            number: self.number,
            app: self.app.clone(),
            routes,
            pushes,
            functions,
            metadata_in_error: of_errors(indexed, &errors),
            errors,
            settings_used,
            invoker: self.invoker.clone(),
            schedule_monitor: self.schedule_monitor.clone(),
            http: Arc::clone(&self.http),
            proxying: HttpProxying::of(&self.invoker.workers.capabilities()),
            retry_stop: self.retry_stop.clone(),
        })
    }

    /// Creates the system keys that callers of the webhooks need. Without one they can use the master key, so that a failure does not
    /// stop the app.
    async fn create_extension_keys(&self, pushes: &PushTable) {
        for extension in pushes.webhooks() {
            if let Err(error) = self.keys.ensure_extension(extension).await {
                let why = error_chain(&error);
                let text = format!(
                    "The system key of the extension '{extension}' cannot be created: {why}. Callers of its webhook need the master key."
                );
                self.invoker.logs.host(Level::Error, text);
            }
        }
    }

    /// Runs the function with a `warmupTrigger`, before the app gets requests. Its failure is logged and does not stop the app.
    async fn warm_up(&self, pushes: &PushTable) {
        let Some(function) = pushes.find(WARMUP, String::new()) else { return };
        let Some(push) = &function.push else { return };
        let pushed = PushedFunction {
            function: Arc::clone(function),
            invoker: self.invoker.clone(),
            stop: Shutdown::of(&self.retry_stop),
            outstanding: Arc::new(Semaphore::new(1)),
            concurrent: None,
        };
        // The outcome is in the log.
        let run = push.trigger.receive(PushRequest::new(Bytes::new()), &pushed);
        if tokio::time::timeout(WARMUP_MAX, run).await.is_err() {
            let text = format!(
                "The function did not end within {WARMUP_MAX:?}; the app does not wait for it any longer."
            );
            self.invoker.logs.function(Level::Warn, function.name(), None, text);
        }
    }

    /// Warns about HTTP functions with a retry policy: callers do not expect to wait for retries, and other hosts may not retry them.
    fn warn_about_http_retries(&self, functions: &[Arc<Function>]) {
        let retried = functions.iter().filter(|function| {
            matches!(function.declaration.trigger, Trigger::Http(_)) && function.declaration.retry.is_some()
        });
        let names: Vec<&str> = retried.map(|function| function.name()).collect();
        if !names.is_empty() {
            let text = format!(
                "The retry policy also applies to HTTP functions: {}. A caller waits until the last attempt has ended; the \
                 vendor announced the end of such retries (https://aka.ms/func-retry-policies).",
                names.join(", ")
            );
            self.invoker.logs.host(Level::Warn, text);
        }
    }

    fn settings_used(&self, metadata: &[FunctionMetadata]) -> Vec<SettingUse> {
        let selected: Vec<FunctionMetadata> =
            metadata.iter().filter(|function| self.is_selected(&function.name)).cloned().collect();
        settings_used(&selected, &self.app.settings, &self.app.local, |spec| {
            let connector = find_connector(&self.connectors, &spec.kind, spec.direction);
            connector.map(|connector| connector.connections(spec)).unwrap_or_default()
        })
    }

    fn validate(&self, metadata: Vec<FunctionMetadata>) -> (Vec<Declaration>, Vec<(String, FunctionError)>) {
        let kinds: Vec<BindingType> = self
            .connectors
            .iter()
            .flat_map(|connector| connector.kinds())
            .map(|(kind, direction)| ((*kind).to_owned(), *direction))
            .collect();
        let rules = DeclarationRules {
            settings: &self.app.settings,
            kinds: &kinds,
            is_pushed: &|kind| {
                let connector = find_connector(&self.connectors, kind, Direction::In);
                connector.is_some_and(|connector| connector.push_extension(kind).is_some())
            },
            route_prefix: &self.app.host.http.route_prefix,
            retry: self.app.host.retry.as_ref(),
            zone: &self.zone,
        };
        let (mut declared, mut errors): (Vec<Declaration>, Vec<(String, FunctionError)>) =
            (Vec::new(), Vec::new());
        for metadata in metadata {
            let name = metadata.name.clone();
            if !self.is_selected(&name) {
                continue;
            }
            if declared.iter().any(|other| other.metadata.name.eq_ignore_ascii_case(&name)) {
                let text = "another function has the same name; names must differ by more than case";
                errors.push((name, FunctionError::new(&error_table::declaration::INVALID_NAME, text)));
                continue;
            }
            match declare(metadata, &rules) {
                Ok(declaration) => declared.push(declaration),
                Err(why) => errors.push((name, why)),
            }
        }
        (declared, errors)
    }

    fn is_selected(&self, name: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|selected| selected.eq_ignore_ascii_case(name));
        (self.only.is_empty() || named(&self.only))
            && self.app.host.functions.as_ref().is_none_or(|allowed| named(allowed))
    }

    async fn bind_all(
        &self,
        declared: Vec<Declaration>,
        errors: &mut Vec<(String, FunctionError)>,
    ) -> Vec<Arc<Function>> {
        let mut functions = Vec::new();
        for declaration in declared {
            let name = declaration.metadata.name.clone();
            match self.bind(declaration).await {
                Ok(function) => functions.push(Arc::new(function)),
                Err(why) => errors.push((name, why)),
            }
        }
        functions
    }

    /// The table of the functions with pushed events; removes those that wait for the events of another one.
    fn pushes(
        &self,
        functions: &mut Vec<Arc<Function>>,
        errors: &mut Vec<(String, FunctionError)>,
    ) -> PushTable {
        let (pushes, conflicting) = PushTable::new(functions);
        for (name, why) in &conflicting {
            self.invoker.logs.function_error(why.description, name, None, in_error(name, &why.text));
            functions.retain(|function| function.name() != name);
        }
        errors.extend(conflicting);
        pushes
    }

    async fn bind(&self, declaration: Declaration) -> Result<Function, FunctionError> {
        if self.checks_sources && matches!(declaration.trigger, Trigger::Source) {
            let binding = &declaration.trigger_spec;
            let source =
                self.connector(binding, Direction::In).source(&binding.spec, &self.app.settings).await;
            source.map_err(|error| unusable(binding, &error))?.close().await;
        }
        let push = match declaration.trigger {
            Trigger::Push => Some(self.push(&declaration.trigger_spec).await?),
            _ => None,
        };
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for binding in declaration.inputs.clone() {
            let reader =
                self.connector(&binding, Direction::In).reader(&binding.spec, &self.app.settings).await;
            let reader = reader.map_err(|error| unusable(&binding, &error))?;
            inputs.push((binding, reader));
        }
        for binding in declaration.outputs.clone() {
            let sink = self.connector(&binding, Direction::Out).sink(&binding.spec, &self.app.settings).await;
            let sink = sink.map_err(|error| unusable(&binding, &error))?;
            outputs.push((binding, sink));
        }
        let name = &declaration.metadata.name;
        let meter = self.usage.meter(name);
        let concurrency = concurrency_of(&self.concurrency, name)
            .map(|max| Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS))));
        Ok(Function::new(declaration, inputs, outputs, push, meter, concurrency))
    }

    async fn push(&self, binding: &Binding) -> Result<PushBinding, FunctionError> {
        let connector = self.connector(binding, Direction::In);
        let extension = connector.push_extension(&binding.spec.kind);
        let extension =
            extension.expect("a declaration has this trigger only if its connector has the extension");
        let trigger = connector.push_trigger(&binding.spec, &self.app.settings).await;
        Ok(PushBinding { extension, trigger: trigger.map_err(|error| unusable(binding, &error))? })
    }

    fn connector(&self, binding: &Binding, direction: Direction) -> &Arc<dyn Connector> {
        let found = find_connector(&self.connectors, &binding.spec.kind, direction);
        found.expect("a declaration is only valid if each of its bindings has a connector")
    }
}

/// The metadata of the functions in error.
fn of_errors(indexed: Vec<FunctionMetadata>, errors: &[(String, FunctionError)]) -> Vec<FunctionMetadata> {
    let is_in_error = |metadata: &FunctionMetadata| errors.iter().any(|(name, _)| *name == metadata.name);
    indexed.into_iter().filter(is_in_error).collect()
}

/// The warning for an app without functions to run.
fn no_functions(dir: &Path, registered: &[String]) -> (&'static ErrorDescription, String) {
    if registered.is_empty() {
        let text = format!(
            "No functions found in {}: the worker ran the app, but it registered none. Check that \"main\" in package.json \
             names the files that call app.http(...) and the like.",
            dir.display()
        );
        return (&error_table::declaration::NO_FUNCTIONS, text);
    }
    let text = format!(
        "None of the functions of the app is selected: it has {}, and --functions, functions.functions or \"functions\" in \
         host.json select others.",
        registered.join(", ")
    );
    (&error_table::declaration::NONE_SELECTED, text)
}

fn unusable(binding: &Binding, error: &functions_contract::BindingError) -> FunctionError {
    let text = format!("the binding '{}' cannot be used: {}", binding.spec.name, error_chain(error));
    FunctionError::new(&error_table::declaration::UNUSABLE_BINDING, text)
}

/// The routes in the order of matching; those of disabled functions last.
fn routes(functions: &[Arc<Function>]) -> RouteTable<Arc<Function>> {
    let mut ordered: Vec<&Arc<Function>> = functions.iter().collect();
    ordered.sort_by_key(|function| function.declaration.is_disabled);
    RouteTable::new(ordered.into_iter().filter_map(|function| match &function.declaration.trigger {
        Trigger::Http(http) => {
            let methods: Vec<Method> = http.methods.clone();
            Some((http.template.clone(), methods, Arc::clone(function)))
        }
        Trigger::Timer(_) | Trigger::Manual | Trigger::Source | Trigger::Push => None,
    }))
}
