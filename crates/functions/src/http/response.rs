//! Converts the value of a function to an HTTP response.

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_messages::{Body, empty, full};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value as Json};
use worker_protocol::{RpcHttp, RpcHttpCookie, SameSite, TypedData};

use functions_contract::find_property;

/// The escaped characters of a cookie's value: all but the unreserved ones of RFC 3986.
const COOKIE_ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";

/// The response to send. The error says why the value cannot be sent.
pub(super) fn from_worker(value: TypedData, request: &HeaderMap) -> Result<Response<Body>, String> {
    match value {
        TypedData::Null => Ok(empty(StatusCode::NO_CONTENT)),
        TypedData::Http(http) => respond(*http, request),
        TypedData::Json(text) => match serde_json::from_str(&text) {
            // An object with `body` is a response; any other value is the body itself.
            Ok(Json::Object(object)) if find_property(&object, "body").is_some() => {
                respond(parse_response(object), request)
            }
            Ok(Json::Null) => Ok(empty(StatusCode::NO_CONTENT)),
            _ => respond(RpcHttp { body: TypedData::Json(text), ..RpcHttp::default() }, request),
        },
        TypedData::String(text) => match serde_json::from_str(&text) {
            Ok(Json::Object(object)) if find_property(&object, "body").is_some() => {
                respond(parse_response(object), request)
            }
            _ => respond(RpcHttp { body: TypedData::String(text), ..RpcHttp::default() }, request),
        },
        other => respond(RpcHttp { body: other, ..RpcHttp::default() }, request),
    }
}

/// Parses an object as a response: `status` or `statusCode`, `headers`, `cookies`, `enableContentNegotiation`, `body`.
fn parse_response(object: Map<String, Json>) -> RpcHttp {
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let status = ["status", "statusCode"].iter().find_map(|name| find_property(&object, name));
    let headers = find_property(&object, "headers").and_then(Json::as_object);
    let cookies = find_property(&object, "cookies");
    let negotiation = find_property(&object, "enableContentNegotiation").and_then(Json::as_bool);
    let body = match find_property(&object, "body") {
        None | Some(Json::Null) => TypedData::Null,
        Some(Json::String(text)) => TypedData::String(text.as_str().into()),
        Some(other) => TypedData::Json(other.to_string().into()),
    };
    RpcHttp {
        status_code: status.map(text).unwrap_or_default(),
        headers: headers.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect(),
        cookies: cookies.and_then(|cookies| serde_json::from_value(cookies.clone()).ok()).unwrap_or_default(),
        enable_content_negotiation: negotiation.unwrap_or_default(),
        body,
        ..RpcHttp::default()
    }
}

fn respond(http: RpcHttp, request: &HeaderMap) -> Result<Response<Body>, String> {
    let status = match http.status_code.trim() {
        "" => StatusCode::OK,
        text => {
            let status = text.parse::<u16>().ok().filter(|status| (200..=999).contains(status));
            let status = status.and_then(|status| StatusCode::from_u16(status).ok());
            status.ok_or_else(|| format!("'{text}' is not a status; use a number from 200 to 999"))?
        }
    };
    let wants_json = http.enable_content_negotiation && accepts_json(request);
    let (body, content_type) = content(http.body, wants_json);
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Some(content_type) = content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    for (name, value) in &http.headers {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("'{name}' is not a valid header name"))?;
        // The host sets length and framing: a wrong value from the function would break the connection.
        let closes = name == CONNECTION && value.trim().eq_ignore_ascii_case("close");
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING || (name == CONNECTION && !closes) {
            continue;
        }
        // An empty value removes the content type.
        if name == CONTENT_TYPE && value.is_empty() {
            headers.remove(CONTENT_TYPE);
            continue;
        }
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| format!("the header {name} has characters that no header may have"))?;
        headers.insert(name, value);
    }
    for cookie in &http.cookies {
        let value = set_cookie(cookie).and_then(|text| HeaderValue::try_from(text).ok());
        let value =
            value.ok_or_else(|| format!("the cookie '{}' has characters that none may have", cookie.name))?;
        headers.append(SET_COOKIE, value);
    }
    Ok(response)
}

/// The body's bytes, and the content type for a function that sets none.
fn content(body: TypedData, wants_json: bool) -> (Bytes, Option<&'static str>) {
    match body {
        TypedData::Null => (Bytes::new(), None),
        TypedData::String(text) if wants_json => (Json::String(text.into()).to_string().into(), Some(JSON)),
        TypedData::String(text) => (text.into_bytes(), Some(TEXT)),
        TypedData::Json(json) => match serde_json::from_str::<String>(&json) {
            Ok(text) if !wants_json => (text.into(), Some(TEXT)),
            _ => (json.into_bytes(), Some(JSON)),
        },
        // The content type of bytes is known to the function only.
        TypedData::Bytes(bytes) | TypedData::Stream(bytes) => (bytes, None),
        TypedData::Int(number) => (number.to_string().into(), Some(TEXT)),
        TypedData::Double(number) => (number.to_string().into(), Some(TEXT)),
        other => {
            let items: Vec<Json> =
                crate::from_protocol::items(other).iter().map(crate::to_protocol::json_of).collect();
            (Json::Array(items).to_string().into(), Some(JSON))
        }
    }
}

fn accepts_json(request: &HeaderMap) -> bool {
    let accepted = request.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = accepted.split(',').next().unwrap_or_default();
    first.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// The `Set-Cookie` value (RFC 6265, section 4.1.1), with the attributes in the order and case of the Azure Functions host, which adds a
/// path to each cookie. `None` if the name is not a token.
fn set_cookie(cookie: &RpcHttpCookie) -> Option<String> {
    // The name of a cookie is a token, like a header name.
    HeaderName::from_bytes(cookie.name.as_bytes()).ok()?;
    let mut text = format!("{}={}", cookie.name, utf8_percent_encode(&cookie.value, COOKIE_ESCAPED));
    if let Some(expires) = cookie.expires.and_then(|expires| jiff::Timestamp::try_from(expires).ok()) {
        text.push_str(&expires.strftime("; expires=%a, %d %b %Y %H:%M:%S GMT").to_string());
    }
    if let Some(max_age) = cookie.max_age {
        text.push_str(&format!("; max-age={:.0}", max_age.trunc()));
    }
    if let Some(domain) = &cookie.domain {
        text.push_str(&format!("; domain={domain}"));
    }
    text.push_str(&format!("; path={}", cookie.path.as_deref().unwrap_or("/")));
    if cookie.secure == Some(true) {
        text.push_str("; secure");
    }
    match cookie.same_site {
        SameSite::Unset => {}
        SameSite::Lax => text.push_str("; samesite=lax"),
        SameSite::Strict => text.push_str("; samesite=strict"),
        SameSite::None => text.push_str("; samesite=none"),
    }
    if cookie.http_only == Some(true) {
        text.push_str("; httponly");
    }
    Some(text)
}
