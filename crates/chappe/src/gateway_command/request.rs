//! The request of `chappe gateway explain`.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::command_error::CommandError;
use crate::error_table::configuration;

/// A request as the command line describes it.
#[derive(Debug)]
pub(super) struct ExplainedRequest {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) host: String,
    pub(super) headers: HeaderMap,
}

impl ExplainedRequest {
    /// # Errors
    ///
    /// If method, target or a header cannot be those of a request.
    pub(super) fn new(method: &str, target: &str, headers: &[String]) -> Result<Self, CommandError> {
        let wrong = |text: String| CommandError::new(&configuration::COMMAND_LINE, text);
        Method::from_bytes(method.as_bytes()).map_err(|_| {
            wrong(format!("{method:?} is not an HTTP method; write GET or POST, for example"))
        })?;
        let mut map = HeaderMap::new();
        for text in headers {
            let (name, value) = text.split_once(':').ok_or_else(|| {
                wrong(format!("--header {text:?}: write NAME: VALUE, such as 'Host: api.test'"))
            })?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| {
                wrong(format!("--header {text:?}: {:?} is not the name of a header", name.trim()))
            })?;
            let value = HeaderValue::from_str(value.trim()).map_err(|_| {
                wrong(format!(
                    "--header {text:?}: the value contains a character that is not allowed in a header"
                ))
            })?;
            map.append(name, value);
        }
        let (authority, target) = match target.split_once("://") {
            Some((_, rest)) if !target.starts_with('/') => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, rest) = rest.split_at(end);
                let slash = if rest.starts_with('/') { "" } else { "/" };
                (Some(authority), format!("{slash}{rest}"))
            }
            _ => (None, target.to_owned()),
        };
        if !target.starts_with('/') && target != "*" {
            return Err(wrong(format!(
                "{target:?} is neither a path nor an address; write /orders/7 or https://api.test/orders/7"
            )));
        }
        if let Some(authority) = authority.and_then(|authority| HeaderValue::from_str(authority).ok())
            && !map.contains_key(header::HOST)
        {
            map.insert(header::HOST, authority);
        }
        let host = map.entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
        let host = String::from_utf8_lossy(host.as_bytes()).into_owned();
        Ok(Self { method: method.to_owned(), target, host, headers: map })
    }
}
