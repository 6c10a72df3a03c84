//! Laying the sources of configuration over each other, and saying clearly what is wrong with one of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use functions::closest_name;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::error::{ConfigError, Origin};
use super::read::read;
use super::section::Sections;
use super::sections::Config;

/// Variables that begin with this are configuration.
const VARIABLE_PREFIX: &str = "CHAPPE_";
/// Variables with that prefix that are flags of the command line.
const VARIABLES_OF_FLAGS: [&str; 1] = ["CHAPPE_CONFIG"];

/// Values from several sources, each over the ones before, with where each came from.
#[derive(Clone)]
pub(crate) struct Layers {
    sections: Sections,
    root: Table,
    origins: BTreeMap<String, Origin>,
    file: Option<PathBuf>,
}

impl Layers {
    /// The file (if there is one), the environment and `key=value` flags, in this order.
    ///
    /// Nothing is taken from the process itself, so that tests own all three.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or a value is wrong.
    pub(crate) fn load(
        sections: Sections,
        file: Option<&Path>,
        environment: &BTreeMap<String, String>,
        flags: &[String],
    ) -> Result<Self, ConfigError> {
        let mut layers = Self { sections, root: Table::new(), origins: BTreeMap::new(), file: None };
        if let Some(file) = file {
            layers.add_file(file)?;
        }
        for (name, value) in environment {
            let Some(path) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
            // A section is needed: CHAPPE_SOMETHING alone may belong to another program.
            if VARIABLES_OF_FLAGS.contains(&name.as_str()) || !path.contains("__") {
                continue;
            }
            let path = path.to_lowercase().replace("__", ".");
            layers.set(&path, value, &Origin::Variable(name.clone()))?;
        }
        for flag in flags {
            let origin = Origin::Flag(format!("--set {flag}"));
            let Some((path, value)) = flag.split_once('=') else {
                let message = "expected KEY=VALUE, such as listen.gateway=localhost:9000".to_owned();
                return Err(ConfigError::Invalid { origin, message });
            };
            layers.set(path.trim(), value, &origin)?;
        }
        Ok(layers)
    }

    /// What all sources together say.
    ///
    /// # Errors
    ///
    /// None where each source was right when it was added.
    pub(crate) fn config(&self) -> Result<Config, ConfigError> {
        let origin = self
            .file
            .clone()
            .map_or_else(|| Origin::Flag("--set".to_owned()), |file| Origin::File(file, None));
        let mut config = self.read(&self.root).map_err(|cause| invalid(origin, &cause))?;
        if let Some(folder) = self.file.as_deref().and_then(Path::parent) {
            config.resolve_paths(folder);
        }
        Ok(config)
    }

    /// Sets one value by its dotted path, and checks the whole, so that a mistake is blamed on its own source.
    ///
    /// # Errors
    ///
    /// If there is no such key, or the value is wrong for it.
    pub(crate) fn set(&mut self, path: &str, text: &str, origin: &Origin) -> Result<(), ConfigError> {
        let mut changed = self.root.clone();
        insert(&mut changed, path, parse_value(text)).map_err(|segment| ConfigError::Invalid {
            origin: origin.clone(),
            message: format!("{path:?} leads into {segment:?}, which is not a section"),
        })?;
        if let Err(cause) = self.read(&changed) {
            // What reads like a number may be meant as text, such as a key made of digits.
            insert(&mut changed, path, Value::String(text.to_owned())).expect("the path was followed before");
            self.read(&changed).map_err(|_| invalid(origin.clone(), &cause))?;
        }
        self.root = changed;
        self.origins.retain(|known, _| !known.starts_with(&format!("{path}.")));
        self.origins.insert(path.to_owned(), origin.clone());
        Ok(())
    }

    /// Where a value came from; `None` for a default.
    pub(crate) fn origin(&self, path: &str) -> Option<&Origin> {
        let mut path = path;
        loop {
            if let Some(origin) = self.origins.get(path) {
                return Some(origin);
            }
            // A list or table that was set as a whole.
            path = path.rsplit_once('.')?.0;
        }
    }

    /// Reads values as they could stand in the file, without any source.
    ///
    /// # Errors
    ///
    /// If a value is wrong, or a key unknown.
    pub(crate) fn read_values(&self, values: &Table) -> Result<Config, String> {
        self.read(values).map_err(|cause| cause.message().to_owned())
    }

    /// Where the values come from that a complaint about a section is about: the keys that it names, or else any of the section.
    pub(crate) fn origin_of(&self, section: &str, complaint: &str) -> Option<&Origin> {
        let below = format!("{section}.");
        let of_section = || self.origins.iter().filter(|(path, _)| path.starts_with(&below));
        // Of several keys the longest: a short one may be part of another word. "template 1" is of `templates`.
        let key = |path: &str| path.rsplit('.').next().unwrap_or_default().trim_end_matches('s').to_owned();
        let named = of_section().filter(|(path, _)| complaint.contains(&key(path)));
        let named = named.max_by_key(|(path, _)| key(path).len());
        named.or_else(|| of_section().next()).map(|(_, origin)| origin)
    }

    fn add_file(&mut self, file: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|cause| ConfigError::Unreadable { file: file.to_owned(), cause })?;
        let wrong = |cause: &toml::de::Error| invalid(Origin::File(file.to_owned(), None), cause);
        let root = DeTable::parse(&text).map_err(|cause| wrong(&cause))?.into_inner();
        // Read on its own first: here the error knows line and column.
        read(&self.sections, root.clone()).map_err(|mut cause| {
            cause.set_input(Some(&text));
            wrong(&cause)
        })?;
        note_lines(&root, "", &mut |path, at| {
            let line =
                text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
            self.origins.insert(path, Origin::File(file.to_owned(), Some(line)));
        });
        self.root = text.parse().map_err(|cause| wrong(&cause))?;
        self.file = Some(file.to_owned());
        Ok(())
    }

    fn read(&self, root: &Table) -> Result<Config, toml::de::Error> {
        let text = toml::to_string(root).expect("it was read from TOML");
        read(&self.sections, DeTable::parse(&text)?.into_inner())
    }
}

/// Tells where each value begins, by its dotted path; tables are told with their keys only.
fn note_lines(table: &DeTable<'_>, above: &str, note: &mut impl FnMut(String, usize)) {
    for (key, value) in table {
        let path =
            if above.is_empty() { key.get_ref().to_string() } else { format!("{above}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) => note_lines(inner, &path, note),
            _ => note(path, key.span().start),
        }
    }
}

/// Puts a value in its place; `Err` names the segment that is no section.
fn insert(table: &mut Table, path: &str, value: Value) -> Result<(), String> {
    let mut place = table;
    let mut segments = path.split('.').peekable();
    while let Some(segment) = segments.next() {
        if segments.peek().is_none() {
            place.insert(segment.to_owned(), value);
            break;
        }
        let next = place.entry(segment).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = next else { return Err(segment.to_owned()) };
        place = inner;
    }
    Ok(())
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
        && let Some(guess) = closest_name(&unknown, known.iter().map(String::as_str))
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
