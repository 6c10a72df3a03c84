//! From one table of values to the configuration. Errors keep their place in the text that was read.

use std::path::PathBuf;

use functions::closest_name;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, Deserializer, Error, ValueDeserializer};

use super::listen::Listen;
use super::section::{ConnectorSection, Section, Sections, fields};
use super::sections::{Config, ConfiguredConnector, ConfiguredService};
use super::service_id::ServiceId;

/// Reads what a table says.
pub(super) fn read(sections: &Sections, mut root: DeTable<'_>) -> Result<Config, Error> {
    let mut services = Vec::new();
    let mut listeners = listeners(&sections.services, root.remove("listen"))?;
    for section in &sections.services {
        let mut table = root.remove(section.name);
        let named = table.as_mut().map(|table| named(section, table)).transpose()?;
        let options = table.map(section.parse).transpose()?.unwrap_or_else(section.defaults);
        let (id, listen) = (ServiceId::unnamed(section.name), listeners.remove(0));
        services.push(ConfiguredService { id, section, listen, app: None, options });
        services.extend(named.unwrap_or_default());
    }
    let connectors = connectors(&sections.connectors, root.remove("connect"))?;
    if let Some((key, known)) = unknown(&root, &sections.services) {
        let value = root.remove(key.get_ref().as_ref()).expect("its key is there");
        return Err(wrong_key(key, value, &known));
    }
    let config = Config::deserialize(Deserializer::from(Spanned::new(0..0, root)))?;
    Ok(Config { services, connectors, ..config })
}

/// Reads the options of the connectors, from the table `[connect]`.
fn connectors(
    sections: &[&'static ConnectorSection],
    table: Option<Spanned<DeValue<'_>>>,
) -> Result<Vec<ConfiguredConnector>, Error> {
    let mut tables = match table.map(Spanned::into_inner) {
        None => DeTable::new(),
        Some(DeValue::Table(tables)) => tables,
        Some(_) => {
            return Err(de::Error::custom("expected a table of connectors, such as [connect.cosmosdb]"));
        }
    };
    let mut connectors = Vec::new();
    for section in sections {
        let options = tables.remove(section.name).map(section.parse).transpose()?;
        connectors.push(ConfiguredConnector { section, options: options.unwrap_or_else(section.defaults) });
    }
    let Some(key) = tables.keys().next().cloned() else { return Ok(connectors) };
    let value = tables.remove(key.get_ref().as_ref()).expect("its key is there");
    let known: Vec<&str> = sections.iter().map(|section| section.name).collect();
    Err(wrong_key(key, value, &known))
}

/// Takes the tables of named services out of a section: those under keys that are no options.
fn named(
    section: &'static Section,
    table: &mut Spanned<DeValue<'_>>,
) -> Result<Vec<ConfiguredService>, Error> {
    let DeValue::Table(table) = table.get_mut() else { return Ok(Vec::new()) };
    let keys = (section.keys)();
    let is_named = |(key, value): &(&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
        value.get_ref().is_table() && !keys.contains(&key.get_ref().as_ref())
    };
    let names: Vec<Spanned<DeString<'_>>> =
        table.iter().filter(is_named).map(|(key, _)| key.clone()).collect();
    let mut services = Vec::new();
    for key in names {
        let value = table.remove(key.get_ref().as_ref()).expect("its key is there");
        let name = key.get_ref().clone();
        // A misspelt option must not become a service.
        if !section.may_be_named || closest_name(&name, keys.iter().copied()).is_some() {
            return Err(wrong_key(key, value, keys));
        }
        let id = match ServiceId::named(section.name, &name) {
            Ok(id) => id,
            Err(error) => return Err(error_at(key, value, &error.to_string())),
        };
        services.push(named_service(section, id, value)?);
    }
    Ok(services)
}

/// Reads the table of a named service: the options of its section, where it listens, and the app that it runs.
fn named_service(
    section: &'static Section,
    id: ServiceId,
    mut value: Spanned<DeValue<'_>>,
) -> Result<ConfiguredService, Error> {
    let DeValue::Table(table) = value.get_mut() else { unreachable!("only tables are services") };
    let listen = table.remove("listen").map(|value| Listen::deserialize(ValueDeserializer::from(value)));
    let app = if section.has_app { table.remove("app") } else { None };
    let app = app.map(|value| PathBuf::deserialize(ValueDeserializer::from(value))).transpose()?;
    // Any free port: clients are told the one that it has.
    let listen = listen.transpose()?.unwrap_or_else(|| Listen::default_port(0));
    let mut options = (section.parse)(value)?;
    options.set_name(id.name.as_deref().unwrap_or_default());
    Ok(ConfiguredService { id, section, listen, app, options })
}

/// Where each service listens, in the order of the sections.
fn listeners(
    sections: &[&'static Section],
    table: Option<Spanned<DeValue<'_>>>,
) -> Result<Vec<Listen>, Error> {
    let mut listeners: Vec<Listen> =
        sections.iter().map(|section| section.port.map_or(Listen::Off, Listen::default_port)).collect();
    if let Some(mut table) = table {
        if let DeValue::Table(entries) = table.get_mut() {
            refuse_named(entries)?;
        }
        let names: Vec<&str> = sections.iter().map(|section| section.name).collect();
        ValueDeserializer::from(table).deserialize_map(ListenVisitor { names, listeners: &mut listeners })?;
    }
    Ok(listeners)
}

/// Refuses the address of a named service under `[listen]`, and says where to write it.
fn refuse_named(entries: &mut DeTable<'_>) -> Result<(), Error> {
    let mut found = None;
    for (key, value) in entries.iter() {
        let id = match value.get_ref() {
            DeValue::Table(below) => {
                below.keys().next().map(|name| format!("{}.{}", key.get_ref(), name.get_ref()))
            }
            _ => key.get_ref().contains('.').then(|| key.get_ref().to_string()),
        };
        if let Some(id) = id {
            found = Some((key.clone(), id));
            break;
        }
    }
    let Some((key, id)) = found else { return Ok(()) };
    let value = entries.remove(key.get_ref().as_ref()).expect("its key is there");
    let text = format!(
        "[listen] has the addresses of services without a name; write the address of a named service in its own section: \
         {id}.listen = \"localhost:PORT\""
    );
    Err(error_at(key, value, &text))
}

/// The first unknown key at the top level, with all known ones.
fn unknown<'i>(
    root: &DeTable<'i>,
    sections: &[&'static Section],
) -> Option<(Spanned<DeString<'i>>, Vec<&'static str>)> {
    let mut known = fields::<Config>().to_vec();
    let key = root.keys().find(|key| !known.contains(&key.get_ref().as_ref()))?.clone();
    known.extend(["listen", "connect"]);
    known.extend(sections.iter().map(|section| section.name));
    Some((key, known))
}

/// An error at a key.
fn wrong_key<'i>(key: Spanned<DeString<'i>>, value: Spanned<DeValue<'i>>, known: &[&str]) -> Error {
    let table = DeTable::from_iter([(key, value)]);
    let result = Deserializer::from(Spanned::new(0..0, table)).deserialize_map(OneOf(known));
    result.expect_err("the key is none of them")
}

/// An error at a key, with a text of its own.
fn error_at<'i>(key: Spanned<DeString<'i>>, value: Spanned<DeValue<'i>>, text: &str) -> Error {
    let table = DeTable::from_iter([(key, value)]);
    let result = Deserializer::from(Spanned::new(0..0, table)).deserialize_map(Never(text));
    result.expect_err("no key is accepted")
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

/// Accepts no key, and says why.
#[derive(Clone, Copy)]
struct Never<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Never<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Err(de::Error::custom(self.0))
    }
}

impl<'de> Visitor<'de> for Never<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        map.next_key_seed(self).map(drop)
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
