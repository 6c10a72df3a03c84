//! [`HttpConnector`]: opens connections: proxy or direct, name resolution, address policy, TCP, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http_messages::BoxError;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tower::ServiceExt as _;

use crate::connection::{Connection, Stream};
use crate::error::SendError;
use crate::metrics::Metrics;
use crate::policy::AddressPolicy;
use crate::proxy::Proxies;
use crate::roots::Roots;

/// Opens connections; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct HttpConnector(pub(crate) Arc<ConnectorState>);

/// The dependencies and limits of connecting.
#[derive(Debug)]
pub(crate) struct ConnectorState {
    pub(crate) proxies: Proxies,
    pub(crate) addresses: AddressPolicy,
    pub(crate) roots: Roots,
    pub(crate) connect_timeout: Duration,
    pub(crate) metrics: Metrics,
}

impl tower::Service<Uri> for HttpConnector {
    type Response = TokioIo<Connection>;
    type Error = SendError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, SendError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let state = Arc::clone(&self.0);
        Box::pin(async move {
            let deadline = Instant::now() + state.connect_timeout;
            let late = |_elapsed| SendError::ConnectTimeout {
                host: uri.host().unwrap_or_default().to_owned(),
                after: state.connect_timeout,
            };
            timeout_at(deadline, state.connect(&uri, deadline)).await.map_err(late)?.map(TokioIo::new)
        })
    }
}

impl ConnectorState {
    /// The proxy to which a request to `uri` is sent directly, without a tunnel.
    ///
    /// Only if every address may be reached: a proxy that resolves the name itself does not apply our policy.
    pub(crate) fn forwarding_proxy(&self, uri: &Uri) -> Option<Intercept> {
        let plain = uri.scheme_str() == Some("http");
        if plain && self.addresses.permits_all() { self.proxies.find(uri) } else { None }
    }

    async fn connect(&self, uri: &Uri, deadline: Instant) -> Result<Connection, SendError> {
        let invalid = || SendError::Address { uri: uri.to_string() };
        let host = uri.host().ok_or_else(invalid)?.trim_start_matches('[').trim_end_matches(']');
        let (tls, default_port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(invalid()),
        };
        let port = uri.port_u16().unwrap_or(default_port);
        let forwarding = self.forwarding_proxy(uri);
        let stream = if let Some(proxy) = &forwarding {
            connect_proxy(proxy, deadline).await?
        } else if let Some(proxy) = self.proxies.find(uri) {
            self.tunnel(&proxy, host, port, deadline).await?
        } else {
            connect_any(host, port, &self.allowed_addresses(host, port).await?, deadline).await?
        };
        let stream = if tls { self.secure(stream, host).await? } else { Stream::Plain(stream) };
        Ok(Connection { stream, forwarded: forwarding.is_some(), _open: self.metrics.connection() })
    }

    /// The allowed addresses of a host.
    async fn allowed_addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, SendError> {
        let found = resolve(host, port).await?;
        let permitted: Vec<_> =
            found.iter().copied().filter(|address| self.addresses.permits(address.ip())).collect();
        match found.first() {
            Some(first) if permitted.is_empty() => {
                Err(SendError::Refused { host: host.to_owned(), address: first.ip() })
            }
            _ => Ok(permitted),
        }
    }

    /// A connection to a host through a tunnel of the proxy (CONNECT, RFC 9110 section 9.3.6).
    async fn tunnel(
        &self,
        proxy: &Intercept,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<TcpStream, SendError> {
        let target = if self.addresses.permits_all() {
            authority(host, port)
        } else {
            // The CONNECT names the address that the policy allowed, so that the proxy cannot resolve another one.
            let address = self.allowed_addresses(host, port).await?;
            address.first().map_or_else(|| authority(host, port), ToString::to_string)
        };
        let stream = connect_proxy(proxy, deadline).await?;
        let failed = |cause: BoxError| SendError::Proxy {
            proxy: proxy_authority(proxy),
            host: target.clone(),
            cause: Arc::from(cause),
        };
        let uri = Uri::builder().scheme("http").authority(target.as_str()).path_and_query("/").build();
        let uri = uri.map_err(|error| failed(error.into()))?;
        let mut tunnel = Tunnel::new(proxy.uri().clone(), OnceConnector(Some(stream)));
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let opened = tunnel.oneshot(uri).await;
        opened.map(TokioIo::into_inner).map_err(|error| failed(error.into()))
    }

    async fn secure(&self, stream: TcpStream, host: &str) -> Result<Stream, SendError> {
        let failed = |cause| SendError::Tls { host: host.to_owned(), cause: Arc::new(cause) };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|cause| failed(io::Error::new(io::ErrorKind::InvalidInput, cause)))?;
        let connector = TlsConnector::from(self.roots.config().await);
        let stream = connector.connect(name, stream).await.map_err(failed)?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// An existing connection, as the connector of a tunnel.
struct OnceConnector(Option<TcpStream>);

impl tower::Service<Uri> for OnceConnector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _proxy: Uri) -> Self::Future {
        let stream = self.0.take().ok_or_else(|| io::Error::other("the connection was used already"));
        std::future::ready(stream.map(TokioIo::new))
    }
}

/// A TCP connection to a proxy.
async fn connect_proxy(proxy: &Intercept, deadline: Instant) -> Result<TcpStream, SendError> {
    let host = proxy.uri().host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = proxy.uri().port_u16().unwrap_or(80);
    connect_any(host, port, &resolve(host, port).await?, deadline).await
}

/// The proxy's host and port, for messages.
fn proxy_authority(proxy: &Intercept) -> String {
    let host = proxy.uri().host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    authority(host, proxy.uri().port_u16().unwrap_or(80))
}

/// `host:port`, with brackets around an IPv6 address.
fn authority(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port).to_string(),
        Err(_name) => format!("{host}:{port}"),
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, SendError> {
    let failed = |cause| SendError::Resolve { host: host.to_owned(), cause: Arc::new(cause) };
    let found: Vec<_> = tokio::net::lookup_host((host, port)).await.map_err(failed)?.collect();
    if found.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(found)
}

/// Tries one address after another, each with its share of the remaining time.
async fn connect_any(
    host: &str,
    port: u16,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, SendError> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let tries_left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let now = Instant::now();
        let share = now + deadline.saturating_duration_since(now) / tries_left;
        match timeout_at(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small and wait for their responses; if this fails, the first write fails as well.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error,
            Err(_late) => {
                failure = io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer"));
            }
        }
    }
    Err(SendError::Connect { host: authority(host, port), cause: Arc::new(failure) })
}
