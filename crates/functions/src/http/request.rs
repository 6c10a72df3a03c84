//! Converts an HTTP request to worker data, trigger metadata and binding data.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use bytestring::ByteString;
use functions_contract::query_pairs;
use http::Uri;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::Serializer;
use serde_json::{Map, Value as Json};
use worker_protocol::{RpcClaim, RpcClaimsIdentity, RpcHttp, TypedData};

use super::body_properties::{METADATA_BODY_BYTES_MAX, body_properties};
use super::extensions::PublicOrigin;
use super::names;
use crate::invoke::Function;
use crate::keys::{KeyLevel, KnownKey};

/// The default claim type of a caller's name (.NET's `ClaimsIdentity`).
const NAME_CLAIM: &str = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name";
/// The default claim type of a role.
const ROLE_CLAIM: &str = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role";
/// The prefix of the claim types of a key.
const KEY_CLAIM: &str = "http://schemas.microsoft.com/2017/07/functions/claims/";

/// The request for the worker. Header names are in lower case, several values are joined by commas.
pub(super) fn to_worker(
    parts: &Parts,
    headers: BTreeMap<String, String>,
    url: String,
    body: TypedData,
    route_values: &[(String, String)],
    key: Option<&KnownKey>,
) -> RpcHttp {
    RpcHttp {
        method: parts.method.as_str().to_owned(),
        url,
        headers,
        body,
        params: route_values.iter().cloned().collect(),
        query: joined_query(parts.uri.query().unwrap_or_default()),
        identities: vec![identity(key)],
        ..RpcHttp::default()
    }
}

/// The identity of the caller: that of its key, or an empty one.
fn identity(key: Option<&KnownKey>) -> RpcClaimsIdentity {
    let claim =
        |kind: &str, value: &str| RpcClaim { kind: format!("{KEY_CLAIM}{kind}"), value: value.to_owned() };
    let claims = key.map_or_else(Vec::new, |key| {
        let level = match key.level {
            KeyLevel::Function | KeyLevel::HostFunction => "Function",
            KeyLevel::System => "System",
            KeyLevel::Admin => "Admin",
        };
        vec![claim("authlevel", level), claim("invoke", "true"), claim("keyid", &key.name)]
    });
    RpcClaimsIdentity {
        authentication_type: key.map(|_| "WebJobsAuthLevel".to_owned()),
        name_claim_type: Some(NAME_CLAIM.to_owned()),
        role_claim_type: Some(ROLE_CLAIM.to_owned()),
        claims,
    }
}

/// The query by name without case: values of one name are joined by commas, under the last spelling of the name.
fn joined_query(query: &str) -> BTreeMap<String, String> {
    let mut joined: HashMap<String, (String, String)> = HashMap::new();
    for (name, value) in query_pairs(query) {
        match joined.entry(name.to_ascii_lowercase()) {
            Entry::Vacant(vacant) => {
                vacant.insert((name, value));
            }
            Entry::Occupied(mut occupied) => {
                let (written, values) = occupied.get_mut();
                *written = name;
                values.push(',');
                values.push_str(&value);
            }
        }
    }
    joined.into_values().collect()
}

/// The address of a request to a function, with its normalised path.
pub(super) fn function_url(parts: &Parts, path: &str) -> String {
    let mut path_and_query = super::path::write(path);
    if let Some(query) = parts.uri.query() {
        path_and_query.push('?');
        path_and_query.push_str(query);
    }
    address(parts, &path_and_query)
}

/// `scheme://host[:port]/path?query` of the request.
pub(super) fn absolute_url(parts: &Parts) -> String {
    address(parts, parts.uri.path_and_query().map_or("/", |path| path.as_str()))
}

fn address(parts: &Parts, path: &str) -> String {
    let public = parts.extensions.get::<PublicOrigin>().map(|origin| &origin.0);
    let base = public.unwrap_or(&parts.uri);
    match (base.scheme_str(), base.authority()) {
        (Some(scheme), Some(authority)) => format!("{scheme}://{authority}{path}"),
        // A caller in this process without an absolute address still names a host, as HTTP/1.1 requires.
        _ => {
            let host = parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
            format!("http://{}{path}", host.unwrap_or("localhost"))
        }
    }
}

/// Scheme and authority of an address.
pub(super) fn origin(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = uri.scheme().cloned();
    parts.authority = uri.authority().cloned();
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    Uri::from_parts(parts).ok()
}

/// The trigger metadata and the binding data: the properties of a JSON body, the values of the query (except `code`, which is a key) and
/// of the route, `Headers` and `Query`; later ones override earlier ones. Route values are text in the metadata, and typed by their
/// constraints in the binding data.
///
/// In the Azure Functions host, a property `headers` of the body or the query overrides the headers. Here it does not, because apps
/// trust `{headers.x-ms-client-principal-id}`.
///
/// The binding data is empty for a function without bindings besides its trigger, as nothing reads it.
pub(super) fn binding_data(
    parts: &Parts,
    headers: &BTreeMap<String, String>,
    body: &Bytes,
    route_values: &[(String, String)],
    mut typed: Map<String, Json>,
    function: &Function,
) -> (BTreeMap<String, TypedData>, Map<String, Json>) {
    let needs_body = function.needs_binding_data;
    let mut gathered = Gathered { has_bindings: function.has_bindings(), ..Gathered::default() };
    if needs_body || body.len() <= METADATA_BODY_BYTES_MAX {
        for (name, property) in body_properties(body, needs_body) {
            gathered.put(name, property.sent, || property.value);
        }
    }
    let query = query_pairs(parts.uri.query().unwrap_or_default());
    for (name, value) in &query {
        if !name.eq_ignore_ascii_case("code") {
            gathered
                .put(name.clone(), TypedData::String(value.as_str().into()), || Json::String(value.clone()));
        }
    }
    for (name, text) in route_values {
        let value = || typed.remove(name).unwrap_or_default();
        gathered.put(name.clone(), TypedData::String(text.as_str().into()), value);
    }
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (names::written(name), value.as_str())).collect();
    gathered.put("Headers".to_owned(), TypedData::Json(json_text(&headers)), || json_object(&headers));
    // The last value of each name, without case.
    let last: BTreeMap<String, (String, String)> =
        query.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), (name, value))).collect();
    let query: Vec<_> = last.values().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    gathered.put("Query".to_owned(), TypedData::Json(json_text(&query)), || json_object(&query));
    (gathered.metadata, gathered.data)
}

/// Names, each of which occurs once, and texts as the text of a JSON object.
fn json_text(texts: &[(impl AsRef<str>, &str)]) -> ByteString {
    let mut text = Vec::with_capacity(256);
    let pairs = texts.iter().map(|(name, value)| (name.as_ref(), value));
    serde_json::Serializer::new(&mut text)
        .collect_map(pairs)
        .expect("the keys are text, and a vector takes all bytes");
    ByteString::try_from(text).expect("JSON is UTF-8")
}

/// The same as [`json_text`], as a value.
fn json_object(texts: &[(impl AsRef<str>, &str)]) -> Json {
    let value = |value: &str| Json::String(value.to_owned());
    Json::Object(texts.iter().map(|(name, text)| (name.as_ref().to_owned(), value(text))).collect())
}

/// Trigger metadata and binding data with the same names; a later value replaces an earlier one without regard to case. Names are
/// indexed, because clients choose how many there are.
#[derive(Default)]
struct Gathered {
    metadata: BTreeMap<String, TypedData>,
    data: Map<String, Json>,
    /// The names in the other two maps, by their lower case.
    names: HashMap<String, String>,
    /// Whether the values of `data` are needed.
    has_bindings: bool,
}

impl Gathered {
    fn put(&mut self, name: String, sent: TypedData, value: impl FnOnce() -> Json) {
        if let Some(earlier) = self.names.insert(name.to_ascii_lowercase(), name.clone()) {
            self.metadata.remove(&earlier);
            self.data.remove(&earlier);
        }
        if self.has_bindings {
            self.data.insert(name.clone(), value());
        }
        self.metadata.insert(name, sent);
    }
}

/// The values of a header, joined by commas.
pub(super) fn header_text(parts: &Parts, name: &str) -> Option<String> {
    let values: Vec<&str> =
        parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// The members of the `baggage` header (W3C Baggage, section 3.2), decoded and without their properties.
pub(super) fn baggage(parts: &Parts) -> BTreeMap<String, String> {
    let text = header_text(parts, "baggage").unwrap_or_default();
    let member = |member: &str| {
        let (name, value) = member.split(';').next()?.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let value = percent_decode_str(value).decode_utf8().ok()?;
        (!name.is_empty()).then(|| (name.to_owned(), value.into_owned()))
    };
    text.split(',').filter_map(member).collect()
}

/// The headers by their names in lower case, several values joined.
pub(super) fn headers(parts: &Parts) -> BTreeMap<String, String> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        match headers.get_mut(name.as_str()) {
            Some(values) => {
                // Cookies are joined as RFC 6265 requires; some values contain commas.
                values.push_str(if name == http::header::COOKIE { "; " } else { "," });
                values.push_str(&value);
            }
            None => {
                headers.insert(name.as_str().to_owned(), value.into_owned());
            }
        }
    }
    headers
}

/// Whether the request says that its body is JSON.
pub(super) fn is_json(parts: &Parts) -> bool {
    let media_type = parts
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json")
}
