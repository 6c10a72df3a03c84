//! An HTTP request in the words of the worker, and what expressions see of it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use http::Uri;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};
use worker_protocol::{RpcHttp, TypedData};

use super::PublicOrigin;

/// The request as the worker sees it. Names of headers are lower-case, several values are joined by commas.
pub(super) fn to_worker(
    parts: &Parts,
    url: &str,
    body: TypedData,
    route_values: &[(String, String)],
) -> RpcHttp {
    RpcHttp {
        method: parts.method.as_str().to_owned(),
        url: url.to_owned(),
        headers: headers(parts),
        body,
        params: route_values.iter().cloned().collect(),
        query: query_pairs(parts.uri.query().unwrap_or_default()).into_iter().collect(),
        ..RpcHttp::default()
    }
}

/// `scheme://host[:port]/path?query` as the client addressed us.
pub(super) fn absolute_url(parts: &Parts) -> String {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let public = parts.extensions.get::<PublicOrigin>().map(|origin| &origin.0);
    let base = public.unwrap_or(&parts.uri);
    match (base.scheme_str(), base.authority()) {
        (Some(scheme), Some(authority)) => format!("{scheme}://{authority}{path}"),
        // A caller in this process that gives no absolute address still names a host, as HTTP/1.1 demands.
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

/// Largest body whose properties every worker gets as trigger metadata too. The real host knows no such limit, but a large
/// body would travel twice for something that hardly any function looks at.
pub(super) const METADATA_BODY_BYTES_MAX: usize = 1024 * 1024;

/// What the worker gets as trigger metadata, and what expressions are resolved from: the properties of a JSON body, values of
/// the query (but not `code`, which is a key) and of the route, `Headers` and `Query`; the later ones win.
///
/// In the real host a body or a query with a property `headers` takes the place of the headers. Here it does not: apps write
/// `{headers.x-ms-client-principal-id}` and trust it.
pub(super) fn binding_data(
    parts: &Parts,
    body: &Bytes,
    typed: Map<String, Json>,
    needs_body: bool,
) -> (BTreeMap<String, TypedData>, Map<String, Json>) {
    let mut gathered = Gathered::default();
    if needs_body || body.len() <= METADATA_BODY_BYTES_MAX {
        for (name, value) in body_properties(body) {
            let in_expressions = match &value {
                _ if !needs_body => Json::Null,
                TypedData::Json(text) => serde_json::from_str(text).unwrap_or_default(),
                TypedData::String(text) => Json::String(text.clone()),
                _ => Json::Null,
            };
            gathered.put(name, value, in_expressions);
        }
    }
    let query = query_pairs(parts.uri.query().unwrap_or_default());
    for (name, value) in &query {
        if !name.eq_ignore_ascii_case("code") {
            gathered.put(name.clone(), TypedData::String(value.clone()), Json::String(value.clone()));
        }
    }
    for (name, value) in typed {
        let sent = match &value {
            Json::String(text) => TypedData::String(text.clone()),
            other => TypedData::Json(other.to_string()),
        };
        gathered.put(name, sent, value);
    }
    let headers =
        Json::Object(headers(parts).into_iter().map(|(name, value)| (name, Json::String(value))).collect());
    let query = Json::Object(query.into_iter().map(|(name, value)| (name, Json::String(value))).collect());
    gathered.put("Headers".to_owned(), TypedData::Json(headers.to_string()), headers);
    gathered.put("Query".to_owned(), TypedData::Json(query.to_string()), query);
    (gathered.metadata, gathered.data)
}

/// Trigger metadata and binding data of the same names, in which a later source replaces a name in any case. Clients choose
/// how many names there are, so none is searched for.
#[derive(Default)]
struct Gathered {
    metadata: BTreeMap<String, TypedData>,
    data: Map<String, Json>,
    /// Names in lower case, as they stand in the other two.
    names: HashMap<String, String>,
}

impl Gathered {
    fn put(&mut self, name: String, sent: TypedData, value: Json) {
        if let Some(earlier) = self.names.insert(name.to_ascii_lowercase(), name.clone()) {
            self.metadata.remove(&earlier);
            self.data.remove(&earlier);
        }
        self.metadata.insert(name.clone(), sent);
        self.data.insert(name, value);
    }
}

/// The top-level properties of a JSON object, whatever the media type says, in the forms that the real host gives them
/// (webjobs-sdk-extensions, `HttpTriggerBinding`): plain values as text, `True` and `False` with capitals, objects and arrays
/// as JSON; `null` is left out. So are values that are larger than such a body may be.
fn body_properties(body: &[u8]) -> Vec<(String, TypedData)> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Vec::new();
    }
    // A body that is no JSON is nobody's fault: it may be anything.
    let Ok(properties) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(body) else {
        return Vec::new();
    };
    let form = |raw: &RawValue| match raw.get() {
        text if text.len() > METADATA_BODY_BYTES_MAX => None,
        "null" => None,
        "true" => Some(TypedData::String("True".to_owned())),
        "false" => Some(TypedData::String("False".to_owned())),
        text if text.starts_with(['{', '[']) => Some(TypedData::Json(text.to_owned())),
        text if text.starts_with('"') => serde_json::from_str(text).ok().map(TypedData::String),
        number => Some(TypedData::String(number.to_owned())),
    };
    properties.into_iter().filter_map(|(name, raw)| Some((name, form(raw)?))).collect()
}

fn headers(parts: &Parts) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for name in parts.headers.keys() {
        let values: Vec<_> = parts
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        // Cookies are joined as RFC 6265 wants it; a comma is part of some cookies' values.
        let separator = if name == http::header::COOKIE { "; " } else { "," };
        headers.insert(name.as_str().to_owned(), values.join(separator));
    }
    headers
}

/// Names and values of a query, decoded; `+` is a blank.
pub(super) fn query_pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}
