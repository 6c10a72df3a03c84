//! What the configuration knows of a service or connector: the name of its section and its options, whatever their type; of a service
//! also its default port.

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

/// The section of a service in `chappe.toml`, and its key under `[listen]`.
pub(crate) struct Section {
    /// Such as `realtime`.
    pub(crate) name: &'static str,
    /// Where it listens on localhost unless configured otherwise; `None`: it takes no connections of its own.
    pub(crate) port: Option<u16>,
    /// Whether there may be several, each with a name, as in `[realtime.chat]`.
    pub(crate) may_be_named: bool,
    /// Whether each runs an app of its own: the key `app` names the folder.
    pub(crate) has_app: bool,
    /// The name that routes call the service by; `None`: no route leads to it.
    pub(crate) target: Option<&'static str>,
    /// Reads the options.
    pub(crate) parse: ParseOptions,
    /// The options' keys.
    pub(crate) keys: fn() -> &'static [&'static str],
    /// The options where nothing is configured.
    pub(crate) defaults: fn() -> Box<dyn SectionOptions>,
}

/// The section of a connector: `[connect.<name>]`.
pub(crate) struct ConnectorSection {
    /// Such as `cosmosdb`.
    pub(crate) name: &'static str,
    /// Reads the options.
    pub(crate) parse: ParseOptions,
    /// The options where nothing is configured.
    pub(crate) defaults: fn() -> Box<dyn SectionOptions>,
}

/// The sections that are not of the process itself.
#[derive(Clone, Debug)]
pub(crate) struct Sections {
    /// Those of the services, in the order of their table.
    pub(crate) services: Vec<&'static Section>,
    /// Those of the connectors, in the order of their table.
    pub(crate) connectors: Vec<&'static ConnectorSection>,
}

/// Reads the options of a service or connector from a table.
pub(crate) type ParseOptions =
    for<'i> fn(Spanned<DeValue<'i>>) -> Result<Box<dyn SectionOptions>, toml::de::Error>;

/// The options of one section: of a service, or of a connector, to which only `resolve_paths`, `validate` and `bodies` apply. The
/// methods answer what the process asks before it starts anything.
pub(crate) trait SectionOptions: Values + Send + Sync {
    /// Makes relative paths start at `base`, the folder of the file that named them.
    fn resolve_paths(&mut self, _base: &Path) {}

    /// Finds what is wrong, beyond what reading finds. `section` is the section's name; `targets` are the names that routes may lead to.
    ///
    /// # Errors
    ///
    /// The text names the section, and says what to do.
    fn validate(&self, _section: &str, _targets: &[String]) -> Result<(), String> {
        Ok(())
    }

    /// Options that variables of other products set, where nothing else does: option and variable.
    fn variables(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// The largest bodies that the options allow.
    fn bodies(&self) -> Vec<BodyBound> {
        Vec::new()
    }

    /// Takes the name of the service, where it is one of several.
    fn set_name(&mut self, _name: &str) {}

    /// What no two services of a section may have in common: the option, and its value.
    fn account(&self) -> Option<(&'static str, &str)> {
        None
    }

    /// The key of the service, where it has one and it is configured.
    fn primary_key(&mut self) -> Option<&mut Option<String>> {
        None
    }

    /// An address of this service alone by which other machines reach it through a proxy: the option, and its value.
    fn public_url(&self) -> Option<(&'static str, &str)> {
        None
    }

    /// Files whose content counts like an option: the option that names each, and the file.
    fn files(&self) -> Vec<(&'static str, PathBuf)> {
        Vec::new()
    }

    /// Folders that the options name and that must exist: the route or key that names each, and the folder.
    fn folders(&self) -> Vec<(String, PathBuf)> {
        Vec::new()
    }
}

/// The largest body that an option allows.
pub(crate) struct BodyBound {
    /// The option, below its section.
    pub(crate) key: &'static str,
    pub(crate) bytes: usize,
    pub(crate) storage: BodyStorage,
}

/// Where a body is kept while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyStorage {
    InMemory,
    InFiles,
}

/// What is the same for options of every type.
pub(crate) trait Values: Any {
    fn boxed_clone(&self) -> Box<dyn SectionOptions>;
    fn as_any(&self) -> &dyn Any;
    /// The values as they could stand in `chappe.toml`.
    fn to_table(&self) -> toml::Table;
}

impl<O: SectionOptions + Clone + Serialize> Values for O {
    fn boxed_clone(&self) -> Box<dyn SectionOptions> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).expect("options are tables of plain values")
    }
}

impl fmt::Debug for dyn SectionOptions {
    /// Without the values: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SectionOptions")
    }
}

impl Clone for Box<dyn SectionOptions> {
    fn clone(&self) -> Self {
        (**self).boxed_clone()
    }
}

impl Section {
    /// A section whose keys are the fields of `O`.
    pub(crate) const fn of<O>(name: &'static str, port: Option<u16>, target: Option<&'static str>) -> Self
    where
        O: SectionOptions + Default + for<'de> Deserialize<'de>,
    {
        Self {
            name,
            may_be_named: true,
            has_app: false,
            port,
            target,
            parse: parse::<O>,
            keys: fields::<O>,
            defaults: || Box::new(O::default()),
        }
    }

    /// Each of several runs an app of its own.
    pub(crate) const fn with_app(self) -> Self {
        Self { has_app: true, ..self }
    }

    /// There is one only.
    pub(crate) const fn only_one(self) -> Self {
        Self { may_be_named: false, ..self }
    }
}

impl ConnectorSection {
    /// A section whose keys are the fields of `O`.
    pub(crate) const fn of<O>(name: &'static str) -> Self
    where
        O: SectionOptions + Default + for<'de> Deserialize<'de>,
    {
        Self { name, parse: parse::<O>, defaults: || Box::new(O::default()) }
    }
}

/// The options of a service that has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoOptions {}

impl SectionOptions for NoOptions {}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.name)
    }
}

impl fmt::Debug for ConnectorSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[connect.{}]", self.name)
    }
}

fn parse<O>(value: Spanned<DeValue<'_>>) -> Result<Box<dyn SectionOptions>, toml::de::Error>
where
    O: SectionOptions + for<'de> Deserialize<'de>,
{
    Ok(Box::new(O::deserialize(ValueDeserializer::from(value))?))
}

/// The fields of a struct, as its `Deserialize` asks for them.
pub(super) fn fields<O: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // It always fails: the names were all that was wanted.
    let _ = O::deserialize(FieldNames(&mut fields));
    fields
}

struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(de::Error::custom("only the names were asked for"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_section_are_the_fields_that_can_be_read() {
        let keys = fields::<documents::Options>();
        assert!(keys.contains(&"page_items") && keys.contains(&"primary_key"), "{keys:?}");
        assert!(!keys.contains(&"data_dir"), "what the program around decides is no key: {keys:?}");
    }
}
