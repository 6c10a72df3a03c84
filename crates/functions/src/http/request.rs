//! An HTTP request in the words of the worker, and what expressions see of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Uri;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value as Json};
use worker_protocol::{RpcHttp, TypedData};

use super::PublicOrigin;

/// The request as the worker sees it. Names of headers are lower-case, several values are joined by commas.
pub(super) fn to_worker(parts: &Parts, url: &str, body: Bytes, route_values: &[(String, String)]) -> RpcHttp {
    RpcHttp {
        method: parts.method.as_str().to_owned(),
        url: url.to_owned(),
        headers: headers(parts),
        body: if body.is_empty() { TypedData::Null } else { TypedData::Bytes(body) },
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

/// What the worker gets as trigger metadata, and what expressions are resolved from: `Headers`, `Query`, values of the query
/// (but not `code`, which is a key) and of the route, and, where some expression may need it, the properties of a JSON body.
pub(super) fn binding_data(
    parts: &Parts,
    body: &Bytes,
    typed: Map<String, Json>,
    needs_body: bool,
) -> (BTreeMap<String, TypedData>, Map<String, Json>) {
    let mut data = Map::new();
    if needs_body && let Ok(Json::Object(properties)) = serde_json::from_slice(body) {
        data = properties;
    }
    let query = query_pairs(parts.uri.query().unwrap_or_default());
    let mut metadata = BTreeMap::new();
    for (name, value) in &query {
        if !name.eq_ignore_ascii_case("code") {
            metadata.insert(name.clone(), TypedData::String(value.clone()));
            put(&mut data, name, Json::String(value.clone()));
        }
    }
    for (name, value) in typed {
        let sent = match &value {
            Json::String(text) => TypedData::String(text.clone()),
            other => TypedData::Json(other.to_string()),
        };
        metadata.insert(name.clone(), sent);
        put(&mut data, &name, value);
    }
    let headers =
        Json::Object(headers(parts).into_iter().map(|(name, value)| (name, Json::String(value))).collect());
    let query = Json::Object(query.into_iter().map(|(name, value)| (name, Json::String(value))).collect());
    metadata.insert("Headers".to_owned(), TypedData::Json(headers.to_string()));
    metadata.insert("Query".to_owned(), TypedData::Json(query.to_string()));
    put(&mut data, "headers", headers);
    put(&mut data, "query", query);
    (metadata, data)
}

/// Replaces a name in any case, so that the later, stronger source wins.
fn put(data: &mut Map<String, Json>, name: &str, value: Json) {
    let existing = data.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
    data.insert(existing.unwrap_or_else(|| name.to_owned()), value);
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
