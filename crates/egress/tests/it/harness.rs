//! Test servers, and clients that connect to them only.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use egress::{Client, Metrics, Options, ProxyChoice};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use http_messages::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// No test waits longer than this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server that responds with the request it received, or for `/bytes/<n>` with n bytes.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    /// With TLS: the certificate to trust.
    pub(crate) root: Option<PathBuf>,
    _dir: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(None, tempfile::tempdir().expect("a folder")).await
    }

    /// With a self-signed certificate for localhost and far.test.
    pub(crate) async fn start_tls(protocols: &[&[u8]]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["localhost", "far.test"].map(str::to_owned))
            .expect("a certificate");
        std::fs::write(dir.path().join("root.pem"), made.cert.pem()).expect("written");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a pair");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Self::start_with(Some(TlsAcceptor::from(Arc::new(config))), dir).await
    }

    async fn start_with(tls: Option<TlsAcceptor>, dir: tempfile::TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let root = tls.is_some().then(|| dir.path().join("root.pem"));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream).await,
                        // A client that does not trust us ends the handshake.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, connections, root, _dir: dir }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(|request: Request<Incoming>| async move {
        let seen = format!(
            "{} {} {:?} host={:?} login={:?}",
            request.method(),
            request.uri(),
            request.version(),
            request.headers().get("host"),
            request.headers().get("proxy-authorization"),
        );
        let path = request.uri().path().to_owned();
        // The whole body is read, so that the connection can be used again.
        let body = request.into_body().collect().await.expect("the client sends all").to_bytes();
        let response = match path.strip_prefix("/bytes/") {
            Some(count) => Bytes::from(vec![b'x'; count.parse().expect("a number")]),
            None if body.is_empty() => Bytes::from(seen),
            None => body,
        };
        Ok::<_, Infallible>(Response::new(Full::new(response)))
    });
    // The client closed the connection.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// Options that do not depend on the environment of the test.
pub(crate) fn options() -> Options {
    Options { proxy: ProxyChoice::Off, native_roots: false, ..Options::default() }
}

pub(crate) fn client(options: &Options) -> Client {
    Client::new(options, &Metrics::default()).expect("options are right")
}

pub(crate) fn get(uri: &str) -> Request<Bytes> {
    Request::get(uri).body(Bytes::new()).expect("a request")
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The body of a response to GET.
pub(crate) async fn text(client: &Client, uri: &str) -> String {
    let response = client.call(get(uri)).await.expect("a response");
    String::from_utf8(response.into_body().to_vec()).expect("text")
}
