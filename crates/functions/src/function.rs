//! The declaration of a function: its trigger, inputs and outputs. Pure: [`declare`] converts the metadata from the worker or
//! `function.json` to a [`Declaration`], or to the reason why the function is in error.

mod properties;

use http::Method;
use jiff::tz::TimeZone;
use serde_json::{Map, Value as Json};
use worker_protocol::{BindingInfo, FunctionMetadata};

use crate::app::MergedSettings;
use crate::error_table::declaration;
use crate::expression::resolve_settings;
use crate::function_error::FunctionError;
use crate::retry::{RetryPolicy, RetrySection};
use crate::route::RouteTemplate;
use crate::schedule::Schedule;
use functions_contract::{BindingSpec, Direction};
pub(crate) use properties::Properties;

/// A function whose declaration is valid.
#[derive(Clone, Debug)]
pub(crate) struct Declaration {
    /// As the worker knows it.
    pub(crate) metadata: FunctionMetadata,
    /// Its trigger.
    pub(crate) trigger: Trigger,
    /// The binding of the trigger.
    pub(crate) trigger_spec: Binding,
    /// Input bindings, in declared order.
    pub(crate) inputs: Vec<Binding>,
    /// Output bindings other than `http`, in declared order.
    pub(crate) outputs: Vec<Binding>,
    /// Name of the `http` output, which may be `$return`.
    pub(crate) http_output: Option<String>,
    /// Its retry policy.
    pub(crate) retry: Option<RetryPolicy>,
    /// Whether it is disabled.
    pub(crate) is_disabled: bool,
}

/// A binding with its compiled expressions.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub(crate) spec: BindingSpec,
    pub(crate) properties: Properties,
    pub(crate) data_type: worker_protocol::DataType,
}

/// The trigger of a function.
#[derive(Clone, Debug)]
pub(crate) enum Trigger {
    Http(HttpTrigger),
    Timer(TimerTrigger),
    /// `manualTrigger`: started by its name only.
    Manual,
    /// A trigger of a connector that hands out batches.
    Source,
    /// A trigger of a connector whose events are pushed.
    Push,
}

/// An `httpTrigger`.
#[derive(Clone, Debug)]
pub(crate) struct HttpTrigger {
    pub(crate) auth_level: AuthLevel,
    /// Empty = all.
    pub(crate) methods: Vec<Method>,
    /// The route, including the prefix.
    pub(crate) template: RouteTemplate,
}

/// The key that a caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AuthLevel {
    Anonymous,
    Function,
    Admin,
}

/// A `timerTrigger`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimerTrigger {
    pub(crate) schedule: Schedule,
    pub(crate) schedule_text: String,
    pub(crate) run_on_startup: bool,
    pub(crate) use_monitor: Option<bool>,
}

/// A binding type that a connector serves.
pub(crate) type BindingType = (String, Direction);

/// Binding types that this crate serves itself.
const BUILT_IN: &[(&str, Direction)] = &[
    ("httpTrigger", Direction::In),
    ("timerTrigger", Direction::In),
    ("manualTrigger", Direction::In),
    ("http", Direction::Out),
];

/// What declarations are validated against.
pub(crate) struct DeclarationRules<'a> {
    pub(crate) settings: &'a MergedSettings,
    /// Binding types that connectors serve.
    pub(crate) kinds: &'a [BindingType],
    /// Whether a connector's trigger type has pushed events.
    pub(crate) is_pushed: &'a (dyn Fn(&str) -> bool + Sync),
    pub(crate) route_prefix: &'a str,
    /// The policy of `host.json`.
    pub(crate) retry: Option<&'a RetrySection>,
    /// The time zone of schedules.
    pub(crate) zone: &'a TimeZone,
}

/// Validates one function. The error is a sentence for the function's author.
pub(crate) fn declare(
    metadata: FunctionMetadata,
    rules: &DeclarationRules<'_>,
) -> Result<Declaration, FunctionError> {
    if let Some(status) = metadata.status.as_ref().filter(|status| status.exception.is_some()) {
        return Err(FunctionError::new(&declaration::REJECTED_BY_WORKER, status.message()));
    }
    check_name(&metadata.name)?;
    if metadata.raw_bindings.is_empty() {
        return Err(FunctionError::new(
            &declaration::TRIGGER_COUNT,
            "it has no bindings; a function has at least a trigger",
        ));
    }
    let is_disabled = is_disabled(&metadata, rules.settings);
    let mut triggers = Vec::new();
    let (mut inputs, mut outputs, mut http_output) = (Vec::new(), Vec::new(), None);
    let mut names: Vec<String> = Vec::new();
    for raw in &metadata.raw_bindings {
        let binding = Binding::parse(&metadata.name, raw, rules)?;
        let spec = &binding.spec;
        if names.iter().any(|name| name.eq_ignore_ascii_case(&spec.name)) {
            let text = format!("two bindings are named '{}'; each needs a name of its own", spec.name);
            return Err(FunctionError::new(&declaration::MALFORMED_BINDING, text));
        }
        names.push(spec.name.clone());
        match spec.direction {
            Direction::In if spec.is_trigger() => triggers.push(binding),
            Direction::In => inputs.push(binding),
            Direction::Out if spec.kind.eq_ignore_ascii_case("http") => http_output = Some(spec.name.clone()),
            Direction::Out => outputs.push(binding),
        }
    }
    let trigger_spec = match triggers.len() {
        1 => triggers.remove(0),
        0 => {
            return Err(FunctionError::new(
                &declaration::TRIGGER_COUNT,
                "it has no trigger; one binding's type must end in 'Trigger'",
            ));
        }
        count => {
            let text = format!("it has {count} triggers; a function has exactly one");
            return Err(FunctionError::new(&declaration::TRIGGER_COUNT, text));
        }
    };
    let trigger = Trigger::parse(&trigger_spec.spec, rules)?;
    let retry = match (&metadata.retry_options, rules.retry) {
        (Some(options), _) => Some(RetryPolicy::from_protocol(options)),
        (None, Some(json)) => Some(RetryPolicy::parse(json)),
        (None, None) => None,
    };
    let retry = retry.transpose();
    let retry = retry.map_err(|problem| FunctionError::new(&declaration::INVALID_RETRY_POLICY, problem))?;
    Ok(Declaration { metadata, trigger, trigger_spec, inputs, outputs, http_output, retry, is_disabled })
}

impl Binding {
    fn parse(function: &str, raw: &str, rules: &DeclarationRules<'_>) -> Result<Self, FunctionError> {
        let malformed = |text: String| FunctionError::new(&declaration::MALFORMED_BINDING, text);
        let json: Json = serde_json::from_str(raw)
            .map_err(|error| malformed(format!("a binding is not JSON: {error}")))?;
        let Json::Object(properties) = json else {
            return Err(malformed("a binding is not a JSON object".to_owned()));
        };
        let Some((name, info)) = BindingInfo::parse(raw) else {
            return Err(malformed("a binding has no name".to_owned()));
        };
        if !is_binding_name(&name) {
            return Err(malformed(format!(
                "'{name}' is not a valid binding name: it must start with a letter and have at most 128 letters and digits, or be $return"
            )));
        }
        let direction = match info.direction {
            worker_protocol::Direction::In => Direction::In,
            worker_protocol::Direction::Out => Direction::Out,
            worker_protocol::Direction::InOut => {
                return Err(malformed(format!(
                    "the binding '{name}' has direction inout, which is not supported; use in or out"
                )));
            }
        };
        check_kind(&name, &info.kind, direction, rules)?;
        let (literal, resolvable): (Map<String, Json>, Map<String, Json>) =
            properties.into_iter().partition(|(property, _)| is_literal(&info.kind, property));
        let unusable = |problem: String| {
            let text = format!("the binding '{name}' cannot be used: {problem}");
            FunctionError::new(&declaration::UNUSABLE_BINDING, text)
        };
        let mut resolved = resolve_all(resolvable, rules.settings).map_err(unusable)?;
        resolved.extend(literal);
        // The properties of a trigger (routes, schedules) have no expressions.
        let is_trigger = direction == Direction::In && info.kind.to_ascii_lowercase().ends_with("trigger");
        let properties = if is_trigger {
            Properties::constant(resolved.clone())
        } else {
            Properties::compile(resolved.clone()).map_err(unusable)?
        };
        let spec = BindingSpec {
            function: function.to_owned(),
            name,
            kind: info.kind,
            direction,
            properties: resolved,
        };
        Ok(Self { spec, properties, data_type: info.data_type })
    }
}

impl Trigger {
    fn parse(spec: &BindingSpec, rules: &DeclarationRules<'_>) -> Result<Self, FunctionError> {
        if spec.kind.eq_ignore_ascii_case("httpTrigger") {
            return HttpTrigger::parse(spec, rules).map(Self::Http);
        }
        if spec.kind.eq_ignore_ascii_case("timerTrigger") {
            return TimerTrigger::parse(spec, rules).map(Self::Timer);
        }
        if spec.kind.eq_ignore_ascii_case("manualTrigger") {
            return Ok(Self::Manual);
        }
        Ok(if (rules.is_pushed)(&spec.kind) { Self::Push } else { Self::Source })
    }
}

impl HttpTrigger {
    fn parse(spec: &BindingSpec, rules: &DeclarationRules<'_>) -> Result<Self, FunctionError> {
        let invalid = |text: String| FunctionError::new(&declaration::INVALID_HTTP_TRIGGER, text);
        let invalid_route = |text: String| FunctionError::new(&declaration::INVALID_ROUTE, text);
        let auth_level = match spec.text("authLevel").unwrap_or("function").to_ascii_lowercase().as_str() {
            "anonymous" => AuthLevel::Anonymous,
            "function" => AuthLevel::Function,
            "admin" | "system" => AuthLevel::Admin,
            other => {
                return Err(invalid(format!(
                    "unknown authLevel '{other}'; use anonymous, function or admin"
                )));
            }
        };
        let methods = match spec.property("methods") {
            Some(Json::Array(methods)) => methods
                .iter()
                .map(|method| {
                    let text = method.as_str().unwrap_or_default().to_ascii_uppercase();
                    text.parse()
                        .map_err(|_| invalid(format!("methods has {method}, which is no HTTP method")))
                })
                .collect::<Result<Vec<Method>, FunctionError>>()?,
            _ => Vec::new(),
        };
        let route = spec.text("route").unwrap_or(&spec.function).trim_matches('/').to_owned();
        let whole = [rules.route_prefix, &route];
        let whole: Vec<&str> = whole.into_iter().filter(|part| !part.is_empty()).collect();
        let template = RouteTemplate::parse(&whole.join("/"));
        let template = template.map_err(|error| invalid_route(error.to_string()))?;
        // The Azure Functions host checks the route without its prefix.
        let first = route.split('/').next().unwrap_or_default();
        if ["admin", "runtime"].iter().any(|reserved| first.eq_ignore_ascii_case(reserved)) {
            return Err(invalid_route(format!(
                "The specified route conflicts with one or more built in routes: '{route}' begins with a reserved word (admin, \
                 runtime); choose another"
            )));
        }
        Ok(Self { auth_level, methods, template })
    }
}

impl TimerTrigger {
    fn parse(spec: &BindingSpec, rules: &DeclarationRules<'_>) -> Result<Self, FunctionError> {
        let invalid = |text: String| FunctionError::new(&declaration::INVALID_SCHEDULE, text);
        let text = spec.text("schedule");
        let text = text.ok_or_else(|| {
            invalid("the timerTrigger has no schedule; set one, such as \"0 */5 * * * *\"".to_owned())
        })?;
        let schedule = Schedule::parse(text, rules.zone.clone());
        let schedule = schedule.map_err(|error| invalid(error.to_string()))?;
        Ok(Self {
            schedule,
            schedule_text: text.to_owned(),
            run_on_startup: spec.property("runOnStartup").is_some_and(is_true),
            use_monitor: spec.property("useMonitor").map(is_true),
        })
    }
}

fn is_true(value: &Json) -> bool {
    value.as_bool().unwrap_or_else(|| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true")))
}

/// Checks the name of a function.
pub(crate) fn check_name(name: &str) -> Result<(), FunctionError> {
    let mut bytes = name.bytes();
    let valid = bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && name.len() <= 128
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !valid || name.eq_ignore_ascii_case("host") {
        let text = format!(
            "'{name}' is not a valid function name: it must start with a letter, have at most 128 letters, digits, '_' and '-', and is \
             not 'host'"
        );
        return Err(FunctionError::new(&declaration::INVALID_NAME, text));
    }
    Ok(())
}

/// The Azure Functions host allows letters and digits only; `_` is accepted too, because workers of other languages use it.
fn is_binding_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name == "$return"
        || (name.len() <= 128
            && bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
}

fn check_kind(
    name: &str,
    kind: &str,
    direction: Direction,
    rules: &DeclarationRules<'_>,
) -> Result<(), FunctionError> {
    let built_in = BUILT_IN.iter().map(|(known, direction)| (*known, *direction));
    let known: Vec<(&str, Direction)> =
        built_in.chain(rules.kinds.iter().map(|(known, direction)| (known.as_str(), *direction))).collect();
    if known.iter().any(|(known, served)| known.eq_ignore_ascii_case(kind) && *served == direction) {
        return Ok(());
    }
    let list: Vec<String> =
        known.iter().map(|(known, served)| format!("{known} ({})", direction_word(*served))).collect();
    let text = format!(
        "the binding '{name}' has type '{kind}' ({}), which is not supported; use one of {}",
        direction_word(direction),
        list.join(", ")
    );
    Err(FunctionError::new(&declaration::UNKNOWN_BINDING_TYPE, text))
}

fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

/// Whether `%NAME%` in a property of a binding is not resolved: in a route, as in the Azure Functions host.
pub(crate) fn is_literal(kind: &str, property: &str) -> bool {
    kind.eq_ignore_ascii_case("httpTrigger") && property.eq_ignore_ascii_case("route")
}

fn resolve_all(
    properties: Map<String, Json>,
    settings: &MergedSettings,
) -> Result<Map<String, Json>, String> {
    let resolve = |(key, value)| Ok((key, resolve_value(value, settings)?));
    properties.into_iter().map(resolve).collect()
}

fn resolve_value(value: Json, settings: &MergedSettings) -> Result<Json, String> {
    Ok(match value {
        Json::String(text) => {
            Json::String(resolve_settings(&text, settings).map_err(|error| error.to_string())?)
        }
        Json::Array(items) => Json::Array(
            items.into_iter().map(|item| resolve_value(item, settings)).collect::<Result<_, _>>()?,
        ),
        Json::Object(object) => Json::Object(resolve_all(object, settings)?),
        other => other,
    })
}

/// Whether the setting `AzureWebJobs.<name>.Disabled` (or with `__` or `_`) is on, or `disabled` of `function.json` is true: a
/// boolean, or the name of a setting that contains one.
fn is_disabled(metadata: &FunctionMetadata, settings: &MergedSettings) -> bool {
    let name = &metadata.name;
    let by_setting = [
        format!("AzureWebJobs.{name}.Disabled"),
        format!("AzureWebJobs__{name}__Disabled"),
        format!("AzureWebJobs_{name}_Disabled"),
    ];
    let by_file = metadata.properties.iter().find(|(key, _)| key.eq_ignore_ascii_case("disabled"));
    let by_file = by_file.map(|(_, value)| value.trim_matches('%'));
    by_setting.iter().any(|setting| settings.is_on(setting))
        || by_file.is_some_and(|value| value.eq_ignore_ascii_case("true") || settings.is_on(value))
}

#[cfg(test)]
mod tests;
