//! Requests of the command line to the admin API of a running process.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use http_messages::Body;
use prometheus_client::registry::Registry;

use crate::command_error::CommandError;
use crate::error_table::configuration;

/// A client of the admin API of a process on this machine or another one. Its connections are closed when it is dropped.
pub(crate) fn client() -> anyhow::Result<egress::Client> {
    let metrics = egress::Metrics::register(&mut Registry::default());
    let options = egress::Options { native_roots: false, ..egress::Options::default() };
    Ok(egress::Client::new(&options, &metrics)?)
}

/// The body of a successful response, readable while `client` exists. `process` is the address that the user named, for errors.
///
/// # Errors
///
/// If no process responds there, or the response is an error.
pub(crate) async fn get(client: &egress::Client, url: &str, process: &str) -> anyhow::Result<Body> {
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::builder().uri(url).body(body).with_context(|| {
        CommandError::new(&configuration::NOT_OUR_RESPONSE, format!("{url} is not a valid address"))
    })?;
    let response = client.send(request).await.with_context(|| {
        let text = format!(
            "no process responds at {process}; start one with `chappe start`, or name its gateway with --url"
        );
        CommandError::new(&configuration::NO_PROCESS, text)
    })?;
    let status = response.status();
    let body = response.into_body();
    if !status.is_success() {
        let refusal = tokio::time::timeout(Duration::from_secs(5), body.collect()).await;
        let text =
            refusal.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let text = format!("{url} returned {status}: {}", String::from_utf8_lossy(&text).trim());
        return Err(CommandError::new(&configuration::REQUEST_REJECTED, text).into());
    }
    Ok(body)
}
