//! The live trace of the realtime service, for `chappe tail`.

use http::{Response, header};
use percent_encoding::percent_decode_str;
use realtime::TraceError;
use realtime_engine::{ConnectionId, Filter, GroupName, UserId};

use super::{Body, Refusal};

/// Answers `?hub=&user=&group=&connection=`, each of which may be absent, with one JSON object a line for as long as the caller reads.
pub(super) async fn answer(realtime: &realtime::Handle, query: Option<&str>) -> Response<Body> {
    let filter = match filter(realtime, query) {
        Ok(filter) => filter,
        Err(refusal) => return refusal.respond(),
    };
    match realtime.trace(filter).await {
        Ok(body) => {
            let mut response = Response::new(body);
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-ndjson"));
            headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
            response
        }
        Err(TraceError::TooMany(_)) => Refusal::TooManyWatch.respond(),
        Err(TraceError::Stopped(_)) => Refusal::Draining.respond(),
    }
}

fn filter(realtime: &realtime::Handle, query: Option<&str>) -> Result<Filter, Refusal> {
    let value = |name: &str| {
        let mut pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value)?;
        Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
    };
    let hub = value("hub").map(|hub| realtime.hub(&hub)).transpose().map_err(|_| Refusal::NoSuchFilter)?;
    let connection = value("connection").map(|id| ConnectionId::parse(&id)).transpose();
    Ok(Filter {
        hub,
        user: value("user").map(|user| UserId::new(&user)),
        group: value("group").map(|group| GroupName::new(&group)),
        connection: connection.map_err(|_| Refusal::NoSuchFilter)?,
        presence_only: false,
    })
}
