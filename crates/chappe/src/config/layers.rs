//! Laying the sources of configuration over each other, and saying clearly what is wrong with one of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use functions::nearest;
use toml::{Table, Value};

use super::Config;

/// What is wrong with the configuration, and where.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}; name one that this user may read", file.display())]
    Unreadable {
        file: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    /// A source is not what it should be.
    #[error("{origin}: {message}")]
    Invalid { origin: Origin, message: String },
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    File(PathBuf),
    Variable(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::Flag(flag) => write!(f, "the flag {flag}"),
        }
    }
}

/// Variables that begin with this are configuration.
const VARIABLE_PREFIX: &str = "CHAPPE_";
/// Variables with that prefix that are flags of the command line.
const VARIABLES_OF_FLAGS: [&str; 1] = ["CHAPPE_CONFIG"];

/// Reads the file (if there is one), the environment and `key=value` flags, in this order, and checks the result.
///
/// Nothing is taken from the process itself, so that tests own all three.
pub(crate) fn load(
    file: Option<&Path>,
    environment: &BTreeMap<String, String>,
    flags: &[String],
) -> Result<Config, ConfigError> {
    let mut table = Table::new();
    if let Some(file) = file {
        let text = std::fs::read_to_string(file)
            .map_err(|cause| ConfigError::Unreadable { file: file.to_owned(), cause })?;
        let origin = Origin::File(file.to_owned());
        // Checked on its own first: here the error knows line and column.
        toml::from_str::<Config>(&text).map_err(|cause| invalid(origin.clone(), &cause))?;
        table = text.parse().map_err(|cause| invalid(origin, &cause))?;
    }
    for (name, value) in environment {
        let Some(path) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
        // A section is needed: CHAPPE_SOMETHING alone may belong to somebody else.
        if VARIABLES_OF_FLAGS.contains(&name.as_str()) || !path.contains("__") {
            continue;
        }
        let path = path.to_lowercase().replace("__", ".");
        overlay(&mut table, &path, value, &Origin::Variable(name.clone()))?;
    }
    for flag in flags {
        let origin = Origin::Flag(format!("--set {flag}"));
        let Some((path, value)) = flag.split_once('=') else {
            let message = "expected KEY=VALUE, such as listen.gateway=localhost:9000".to_owned();
            return Err(ConfigError::Invalid { origin, message });
        };
        overlay(&mut table, path.trim(), value, &origin)?;
    }
    let origin = file.map_or_else(|| Origin::Flag("--set".to_owned()), |file| Origin::File(file.to_owned()));
    let mut config: Config = table.try_into().map_err(|cause| invalid(origin, &cause))?;
    if let Some(folder) = file.and_then(Path::parent) {
        config.resolve_paths(folder);
    }
    Ok(config)
}

/// Sets one value by its dotted path, and checks the whole, so that a mistake is blamed on its own source.
fn overlay(table: &mut Table, path: &str, text: &str, origin: &Origin) -> Result<(), ConfigError> {
    let mut changed = table.clone();
    let mut place = &mut changed;
    let mut segments = path.split('.').peekable();
    while let Some(segment) = segments.next() {
        if segments.peek().is_none() {
            place.insert(segment.to_owned(), parse_value(text));
            break;
        }
        let next = place.entry(segment).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = next else {
            let message = format!("{path:?} leads into {segment:?}, which is not a section");
            return Err(ConfigError::Invalid { origin: origin.clone(), message });
        };
        place = inner;
    }
    let typed: Result<Config, _> = changed.clone().try_into();
    if let Err(cause) = typed {
        // What reads like a number may be meant as text, such as a key made of digits.
        set_text(&mut changed, path, text);
        let as_text: Result<Config, _> = changed.clone().try_into();
        as_text.map_err(|_| invalid(origin.clone(), &cause))?;
    }
    *table = changed;
    Ok(())
}

fn set_text(table: &mut Table, path: &str, text: &str) {
    let (parents, last) = path.rsplit_once('.').map_or((None, path), |(parents, last)| (Some(parents), last));
    let mut place = table;
    for segment in parents.into_iter().flat_map(|parents| parents.split('.')) {
        match place.get_mut(segment) {
            Some(Value::Table(inner)) => place = inner,
            _ => return,
        }
    }
    place.insert(last.to_owned(), Value::String(text.to_owned()));
}

/// A number, a truth value, a list, or else text.
fn parse_value(text: &str) -> Value {
    let document = format!("value = {text}");
    let parsed = document.parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn invalid(origin: Origin, cause: &toml::de::Error) -> ConfigError {
    let mut message = cause.to_string().trim().to_owned();
    if let Some((unknown, known)) = unknown_field(cause.message())
        && let Some(guess) = nearest(&unknown, known.iter().map(String::as_str))
    {
        message = format!("{message}\ndid you mean `{guess}`?");
    }
    ConfigError::Invalid { origin, message }
}

/// Takes serde's "unknown field `x`, expected one of `a`, `b`" apart.
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((unknown.to_owned(), known))
}

#[cfg(test)]
mod tests;
