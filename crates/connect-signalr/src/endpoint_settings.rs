//! The endpoints of a binding, from app settings: the connection string that the binding names, and `Azure:SignalR:Endpoints`, which
//! all bindings share, as the Azure Functions extension reads them. Pure.

use std::collections::BTreeMap;

use functions_contract::{AppSettings, BindingError};
use identity::SignalRConnectionString;

use crate::connection;

/// The beginning of the names of the settings for further endpoints; in names, `__` is a colon.
pub(crate) const ENDPOINTS: &str = "Azure:SignalR:Endpoints:";

/// Whether clients are sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointType {
    /// They are.
    Primary,
    /// Only if there is no primary one. It gets all messages.
    Secondary,
}

impl EndpointType {
    /// The name in the values of bindings.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Primary => "Primary",
            Self::Secondary => "Secondary",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Primary, Self::Secondary].into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// An endpoint as the settings describe it.
#[derive(Clone, Debug)]
pub(crate) struct ConfiguredEndpoint {
    /// Its name; empty for the connection string that the binding names.
    pub(crate) name: String,
    pub(crate) kind: EndpointType,
    pub(crate) connection: SignalRConnectionString,
    /// The setting that describes it, for errors.
    pub(crate) setting: String,
}

/// The endpoints of a binding whose connection string is in `setting`, in the order of their names.
///
/// # Errors
///
/// If there is none, or one cannot be used.
pub(crate) fn endpoints(
    setting: &str,
    app: &dyn AppSettings,
) -> Result<Vec<ConfiguredEndpoint>, BindingError> {
    let further = further_endpoints(app)?;
    let own = match connection::find(setting, app) {
        Some(text) => Some(endpoint("", EndpointType::Primary, setting, &text)?),
        None if further.is_empty() => return Err(connection::missing(setting)),
        None => None,
    };
    Ok(own.into_iter().chain(further).collect())
}

/// The endpoints of `Azure:SignalR:Endpoints`: `<name>`, `<name>:primary` and `<name>:secondary` are connection strings,
/// `<name>:serviceUri` with its siblings is an identity-based connection, whose `type` says what it is.
fn further_endpoints(app: &dyn AppSettings) -> Result<Vec<ConfiguredEndpoint>, BindingError> {
    // The setting for each part of each endpoint, in lower case; "" is the endpoint itself.
    let mut parts: BTreeMap<String, (String, BTreeMap<String, String>)> = BTreeMap::new();
    for setting in app.names_below(ENDPOINTS) {
        let path = setting.replace("__", ":");
        let Some(below) = path.get(ENDPOINTS.len()..) else { continue };
        let (name, part) = below.split_once(':').unwrap_or((below, ""));
        let (_, parts) =
            parts.entry(name.to_ascii_lowercase()).or_insert_with(|| (name.to_owned(), BTreeMap::new()));
        parts.insert(part.to_ascii_lowercase(), setting);
    }
    let mut endpoints = Vec::new();
    for (name, parts) in parts.into_values() {
        let value = |part: &str| {
            let setting = parts.get(part)?;
            Some((setting.as_str(), app.setting(setting).filter(|text| !text.is_empty())?))
        };
        if let Some((setting, uri)) = value("serviceuri") {
            let part = |part: &str| value(&part.to_ascii_lowercase()).map(|(_, text)| text);
            let text = connection::by_identity(&uri, part);
            let kind = part("type").map_or(Ok(EndpointType::Primary), |kind| {
                EndpointType::parse(&kind).ok_or_else(|| {
                    connection::invalid(setting, &format!("its type is {kind:?}; use primary or secondary"))
                })
            })?;
            endpoints.push(endpoint(&name, kind, setting, &text)?);
            continue;
        }
        let kinds = [
            ("", EndpointType::Primary),
            ("primary", EndpointType::Primary),
            ("secondary", EndpointType::Secondary),
        ];
        for (part, kind) in kinds {
            if let Some((setting, text)) = value(part) {
                endpoints.push(endpoint(&name, kind, setting, &text)?);
            }
        }
    }
    Ok(endpoints)
}

fn endpoint(
    name: &str,
    kind: EndpointType,
    setting: &str,
    text: &str,
) -> Result<ConfiguredEndpoint, BindingError> {
    let connection = SignalRConnectionString::parse(text)
        .map_err(|error| connection::invalid(setting, &error.to_string()))?;
    Ok(ConfiguredEndpoint { name: name.to_owned(), kind, connection, setting: setting.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Settings(&'static [(&'static str, &'static str)]);

    impl AppSettings for Settings {
        fn setting(&self, name: &str) -> Option<String> {
            self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        }

        fn names_below(&self, prefix: &str) -> Vec<String> {
            let prefix = prefix.to_ascii_lowercase();
            let is_below = |name: &&str| name.replace("__", ":").to_ascii_lowercase().starts_with(&prefix);
            self.0.iter().map(|(name, _)| *name).filter(is_below).map(str::to_owned).collect()
        }

        fn host_id(&self) -> &str {
            "tests"
        }
    }

    fn found(settings: &'static [(&'static str, &'static str)]) -> Result<Vec<String>, String> {
        let endpoints = endpoints("Signal", &Settings(settings)).map_err(|error| error.to_string())?;
        let text = |one: &ConfiguredEndpoint| {
            format!("{} {} {}", one.name, one.kind.name(), one.connection.server_url())
        };
        Ok(endpoints.iter().map(text).collect())
    }

    const OWN: (&str, &str) = ("Signal", "Endpoint=http://own;AccessKey=k;Version=1.0;");

    #[test]
    fn endpoints_come_from_the_connection_string_and_from_the_shared_section() {
        assert_eq!(found(&[OWN]), Ok(vec![" Primary http://own".to_owned()]));
        let several = found(&[
            OWN,
            ("Azure__SignalR__Endpoints__west__secondary", "Endpoint=http://w2;AccessKey=k;"),
            ("Azure__SignalR__Endpoints__west__primary", "Endpoint=http://w1;AccessKey=k;"),
            ("azure:signalr:endpoints:east", "Endpoint=http://e;AccessKey=k;"),
            ("Azure__SignalR__Endpoints__aad__serviceUri", "https://a.example:441"),
            ("Azure__SignalR__Endpoints__aad__Type", "secondary"),
        ]);
        let expected = [
            " Primary http://own",
            "aad Secondary https://a.example:441",
            "east Primary http://e",
            "west Primary http://w1",
            "west Secondary http://w2",
        ];
        assert_eq!(several, Ok(expected.map(str::to_owned).to_vec()));
        let without_own = found(&[("Azure__SignalR__Endpoints__east", "Endpoint=http://e;AccessKey=k;")]);
        assert_eq!(without_own, Ok(vec!["east Primary http://e".to_owned()]));
    }

    #[test]
    fn an_endpoint_that_cannot_be_used_is_named_by_its_setting() {
        let missing = found(&[]).expect_err("no endpoint");
        assert!(missing.starts_with("the setting \"Signal\" is missing"), "{missing}");
        let malformed =
            found(&[OWN, ("Azure__SignalR__Endpoints__east", "nonsense")]).expect_err("no string");
        assert!(malformed.starts_with("the setting \"Azure__SignalR__Endpoints__east\": "), "{malformed}");
        let kind = found(&[
            ("Azure__SignalR__Endpoints__a__serviceUri", "https://a.example"),
            ("Azure__SignalR__Endpoints__a__type", "third"),
        ]);
        let kind = kind.expect_err("no such type");
        assert!(kind.ends_with("its type is \"third\"; use primary or secondary"), "{kind}");
    }
}
