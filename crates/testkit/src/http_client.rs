//! [`Http`]: sends one request on its own connection, and reads the response.

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::PATIENCE;

/// An HTTP/1.1 client for one origin, such as `http://localhost:8080`.
#[derive(Clone, Debug)]
pub struct Http {
    authority: String,
}

/// A complete response.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Http {
    /// A client for an origin.
    pub fn new(origin: &str) -> Self {
        let authority = origin.trim_start_matches("http://").trim_end_matches('/');
        Self { authority: authority.to_owned() }
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Sends a request and reads the whole response.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<HttpResponse> {
        let mut request = Request::builder().method(method).uri(path).body(Full::new(body.into()))?;
        request.headers_mut().insert("host", self.authority.parse()?);
        for (name, value) in headers {
            request.headers_mut().insert(HeaderName::from_bytes(name.as_bytes())?, value.parse()?);
        }
        timeout(PATIENCE, self.exchange(request))
            .await
            .with_context(|| format!("no response to {method} {path}"))?
    }

    /// Sends a GET request.
    pub async fn get(&self, path: &str) -> anyhow::Result<HttpResponse> {
        self.send("GET", path, &[], "").await
    }

    /// Sends a POST request with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<HttpResponse> {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<HttpResponse> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        drop(sender);
        driver.abort();
        Ok(HttpResponse { status: head.status, headers: head.headers, body })
    }
}

impl HttpResponse {
    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
