//! Binding expressions: `%SETTING%`, resolved when the app loads, and `{expression}`, compiled then and resolved for each
//! invocation.
//!
//! The rules are those of the WebJobs SDK: names are matched without regard to case, dots select properties of objects, binding data
//! takes precedence over built-in names, a missing name is an error.
//!
//! Pure: the time and the random bytes of GUIDs come in through [`SystemValues`].

mod datetime;

use std::time::SystemTime;

use serde_json::{Map, Value as Json};

use functions_contract::{AppSettings, find_property};

/// Text with `{expressions}`, ready to be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpressionTemplate {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Expression { path: Vec<String>, format: Option<String> },
}

/// Text that is not a valid template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a valid binding expression: {problem}")]
pub(crate) struct CompileTemplateError {
    text: String,
    problem: &'static str,
}

/// A `%SETTING%` that is not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "%{name}% does not resolve to a value: there is no app setting {name}; add it to local.settings.json (Values) or to the environment"
)]
pub(crate) struct MissingSetting {
    pub(crate) name: String,
}

/// An expression that has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no value for {{{expression}}} in \"{template}\": {problem}")]
pub(crate) struct ResolveError {
    expression: String,
    template: String,
    problem: String,
}

/// The inputs of built-in expressions.
#[derive(Debug)]
pub(crate) struct SystemValues<'a> {
    /// `{sys.methodname}`.
    pub(crate) function: &'a str,
    /// `{sys.utcnow}`, `{DateTime}`.
    pub(crate) now: SystemTime,
    /// Generates a GUID for `{rand-guid}` and `{sys.randguid}`.
    pub(crate) guid: fn() -> uuid::Uuid,
}

/// Replaces each `%SETTING%`. A single `%` stays (URLs have them), and so does `%%`.
pub(crate) fn resolve_settings(text: &str, settings: &dyn AppSettings) -> Result<String, MissingSetting> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let Some(length) = from[1..].find('%') else {
            out.push_str(from);
            return Ok(out);
        };
        let name = &from[1..=length];
        if name.is_empty() {
            out.push_str("%%");
        } else {
            let value = settings.setting(name).ok_or_else(|| MissingSetting { name: name.to_owned() })?;
            out.push_str(&value);
        }
        rest = &from[length + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The names that [`resolve_settings`] would replace, in order.
pub(crate) fn named_settings(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((_, from)) = rest.split_once('%') {
        let Some((name, after)) = from.split_once('%') else { break };
        if !name.is_empty() {
            names.push(name);
        }
        rest = after;
    }
    names
}

impl ExpressionTemplate {
    /// Compiles text. `{{` and `}}` are escaped braces.
    pub(crate) fn compile(text: &str) -> Result<Self, CompileTemplateError> {
        let fail = |problem| CompileTemplateError { text: text.to_owned(), problem };
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let from = &rest[at..];
            if from.starts_with("{{") || from.starts_with("}}") {
                literal.push_str(&from[..1]);
                rest = &from[2..];
                continue;
            }
            if from.starts_with('}') {
                return Err(fail("a '}' has no '{' before it; write }} for a brace"));
            }
            let end = from.find('}').ok_or_else(|| fail("a '{' is not closed; write {{ for a brace"))?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Self::expression(&from[1..end]).map_err(fail)?);
            rest = &from[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { source: text.to_owned(), parts })
    }

    fn expression(text: &str) -> Result<Part, &'static str> {
        let (name, format) = match text.split_once(':') {
            Some((name, format)) => (name.trim(), Some(format.to_owned())),
            None => (text.trim(), None),
        };
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        if path.iter().any(|part| part.trim().is_empty()) {
            return Err("an expression is a name, or names joined by dots");
        }
        // JSON that is not an expression, such as a property with `{"a":1}`, is rejected here too.
        if !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '$' | '[' | ']')) {
            return Err("a name consists of letters, digits, '_' and '-'");
        }
        Ok(Part::Expression { path, format })
    }

    /// Whether it is the same for every invocation.
    pub(crate) fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Literal(_)))
    }

    /// The text for one invocation.
    pub(crate) fn resolve(
        &self,
        data: &Map<String, Json>,
        system: &SystemValues<'_>,
    ) -> Result<String, ResolveError> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Expression { path, format } => {
                    let value = evaluate(path, format.as_deref(), data, system);
                    out.push_str(&value.map_err(|problem| ResolveError {
                        expression: path.join("."),
                        template: self.source.clone(),
                        problem,
                    })?);
                }
            }
        }
        Ok(out)
    }
}

fn evaluate(
    path: &[String],
    format: Option<&str>,
    data: &Map<String, Json>,
    system: &SystemValues<'_>,
) -> Result<String, String> {
    let [first, rest @ ..] = path else { return Err("the expression is empty".to_owned()) };
    if let Some(mut value) = find_property(data, first) {
        for name in rest {
            let inner = match value {
                Json::Object(object) => find_property(object, name),
                Json::Array(items) => name.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            value = inner.ok_or_else(|| format!("there is no property '{name}'"))?;
        }
        return text_of(value, format);
    }
    let now = || datetime::format(system.now, format);
    match (first.to_ascii_lowercase().as_str(), rest) {
        ("rand-guid", []) => guid(system, format),
        ("datetime", []) => now(),
        ("sys", [name]) if name.eq_ignore_ascii_case("randguid") => guid(system, format),
        ("sys", [name]) if name.eq_ignore_ascii_case("utcnow") => now(),
        ("sys", [name]) if name.eq_ignore_ascii_case("methodname") => Ok(system.function.to_owned()),
        _ => Err(format!("the trigger provides no '{first}'")),
    }
}

fn text_of(value: &Json, format: Option<&str>) -> Result<String, String> {
    Ok(match value {
        Json::Null => String::new(),
        Json::String(text) => {
            let time = format.and_then(|_| text.parse::<jiff::Timestamp>().ok());
            match time {
                Some(time) => datetime::format(time.into(), format)?,
                None => text.clone(),
            }
        }
        other => other.to_string(),
    })
}

/// GUID formats of .NET: D (default) with hyphens, N digits only, B in braces, P in parentheses.
fn guid(system: &SystemValues<'_>, format: Option<&str>) -> Result<String, String> {
    let id = (system.guid)();
    match format.unwrap_or("D") {
        "" | "D" | "d" => Ok(id.hyphenated().to_string()),
        "N" | "n" => Ok(id.simple().to_string()),
        "B" | "b" => Ok(id.braced().to_string()),
        "P" | "p" => Ok(format!("({})", id.hyphenated())),
        other => Err(format!("'{other}' is not a GUID format; use one of D, N, B, P")),
    }
}

#[cfg(test)]
mod tests;
