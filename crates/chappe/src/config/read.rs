//! From one table of values to the configuration. Errors keep their place in the text that was read.

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, Deserializer, Error, ValueDeserializer};

use super::listen::Listen;
use super::section::{Section, fields};
use super::sections::{Config, ConfiguredService};
use super::service_id::ServiceId;

/// Reads what a table says; `sections` are those of the services.
pub(super) fn read(sections: &[&'static Section], mut root: DeTable<'_>) -> Result<Config, Error> {
    let mut services = Vec::new();
    let mut listeners = listeners(sections, root.remove("listen"))?;
    for section in sections {
        let options = root.remove(section.name).map(section.parse).transpose()?;
        let listen = listeners.remove(0);
        let options = options.unwrap_or_else(section.defaults);
        let id = ServiceId { service: section.name };
        services.push(ConfiguredService { id, section, listen, options });
    }
    if let Some((key, known)) = unknown(&root, sections) {
        let value = root.remove(key.get_ref().as_ref()).expect("its key is there");
        return Err(wrong_key(key, value, &known));
    }
    let config = Config::deserialize(Deserializer::from(Spanned::new(0..0, root)))?;
    Ok(Config { services, ..config })
}

/// Where each service listens, in the order of the sections.
fn listeners(
    sections: &[&'static Section],
    table: Option<Spanned<DeValue<'_>>>,
) -> Result<Vec<Listen>, Error> {
    let mut listeners: Vec<Listen> =
        sections.iter().map(|section| section.port.map_or(Listen::Off, Listen::default_port)).collect();
    if let Some(table) = table {
        let names: Vec<&str> = sections.iter().map(|section| section.name).collect();
        ValueDeserializer::from(table).deserialize_map(ListenVisitor { names, listeners: &mut listeners })?;
    }
    Ok(listeners)
}

/// The first key at the top that nobody reads, with all that are read.
fn unknown<'i>(
    root: &DeTable<'i>,
    sections: &[&'static Section],
) -> Option<(Spanned<DeString<'i>>, Vec<&'static str>)> {
    let mut known = fields::<Config>().to_vec();
    let key = root.keys().find(|key| !known.contains(&key.get_ref().as_ref()))?.clone();
    known.push("listen");
    known.extend(sections.iter().map(|section| section.name));
    Some((key, known))
}

/// An error at a key.
pub(super) fn wrong_key<'i>(
    key: Spanned<DeString<'i>>,
    value: Spanned<DeValue<'i>>,
    known: &[&str],
) -> Error {
    let table = DeTable::from_iter([(key, value)]);
    let result = Deserializer::from(Spanned::new(0..0, table)).deserialize_map(OneOf(known));
    result.expect_err("the key is none of them")
}

fn unknown_field<E: de::Error>(key: &str, known: &[&str]) -> E {
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    E::custom(format_args!("unknown field `{key}`, expected one of {}", known.join(", ")))
}

/// Accepts the keys that it holds, and gives their index.
#[derive(Clone, Copy)]
struct OneOf<'a>(&'a [&'a str]);

impl<'de> DeserializeSeed<'de> for OneOf<'_> {
    type Value = usize;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        let key = String::deserialize(deserializer)?;
        self.0.iter().position(|name| *name == key).ok_or_else(|| unknown_field(&key, self.0))
    }
}

impl<'de> Visitor<'de> for OneOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(self)?.is_some() {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

struct ListenVisitor<'a> {
    names: Vec<&'a str>,
    listeners: &'a mut [Listen],
}

impl<'de> Visitor<'de> for ListenVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a table of addresses")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(at) = map.next_key_seed(OneOf(&self.names))? {
            self.listeners[at] = map.next_value()?;
        }
        Ok(())
    }
}
