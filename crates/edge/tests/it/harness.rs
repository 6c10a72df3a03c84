//! A listener with a small service, and clients that send raw bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge::{Drained, Listener, Options, Peer, Socket, Upgrade};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Collected, Full};
use http_messages::Body;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// No test waits longer than this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The size of the response at `/large`.
pub(crate) const LARGE_BYTES: usize = 32 * 1024 * 1024;

/// A listener that serves [`answer`].
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Sockets that were handed over.
    pub(crate) sockets: mpsc::UnboundedReceiver<Socket>,
    /// Ends `/wait`.
    pub(crate) release: Arc<Notify>,
    /// Notified when a `/wait` is running.
    pub(crate) waiting: mpsc::UnboundedReceiver<()>,
    /// Bodies of `/later`, once they are read.
    pub(crate) bodies: mpsc::UnboundedReceiver<Result<Bytes, String>>,
    shutdown: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<Drained>>,
}

#[derive(Clone)]
struct Shared {
    sockets: mpsc::UnboundedSender<Socket>,
    release: Arc<Notify>,
    waiting: mpsc::UnboundedSender<()>,
    bodies: mpsc::UnboundedSender<Result<Bytes, String>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(Options::default(), |listener| listener)
    }

    pub(crate) fn start_with(options: Options, change: impl FnOnce(Listener) -> Listener) -> Self {
        let listener = Listener::bind("test", ([127, 0, 0, 1], 0).into()).expect("a free port");
        let listener = change(listener.with_options(options));
        let address = listener.local_addr();
        let (sockets_in, sockets) = mpsc::unbounded_channel();
        let (waiting_in, waiting) = mpsc::unbounded_channel();
        let (bodies_in, bodies) = mpsc::unbounded_channel();
        let (shutdown, shut) = oneshot::channel();
        let release = Arc::new(Notify::new());
        let shared = Shared {
            sockets: sockets_in,
            release: Arc::clone(&release),
            waiting: waiting_in,
            bodies: bodies_in,
        };
        let service = tower::service_fn(move |request| answer(shared.clone(), request));
        let served = tokio::spawn(listener.serve(service, async {
            let _ = shut.await;
        }));
        Self { address, sockets, release, waiting, bodies, shutdown, served }
    }

    /// Requests shutdown; the task ends when the listener has drained.
    pub(crate) fn stop(self) -> JoinHandle<std::io::Result<Drained>> {
        self.shutdown.send(()).expect("the listener is running");
        self.served
    }
}

/// `/echo` returns the body, `/upgrade` hands the connection over, `/duplex` returns the bytes received after an upgrade, `/wait`
/// waits, `/later` responds immediately and reads the body afterwards, `/panic` panics, `/refuse` and `/ignore` read no body,
/// `/events` sends one event immediately and one when it is released, `/medium` returns 300,000 bytes, `/large` returns more than
/// all buffers can store, and every other path returns the request it received.
async fn answer(shared: Shared, mut request: Request<Body>) -> Result<Response<Body>, Infallible> {
    match request.uri().path() {
        "/upgrade" => {
            let Some(upgrade) = request.extensions_mut().remove::<Upgrade>() else {
                return Ok(text(StatusCode::UPGRADE_REQUIRED, "no upgrade"));
            };
            tokio::spawn(async move {
                let socket = upgrade.into_socket().await.expect("the connection switches protocols");
                shared.sockets.send(socket).expect("the test is waiting");
            });
            let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
            response.headers_mut().insert("connection", "upgrade".parse().expect("a field value"));
            response.headers_mut().insert("upgrade", "test".parse().expect("a field value"));
            Ok(response)
        }
        "/duplex" => {
            let upgrade = request.extensions_mut().remove::<Upgrade>().expect("the client asks for it");
            tokio::spawn(async move {
                let duplex = upgrade.into_duplex().await.expect("the connection switches protocols");
                let (mut read, mut write) = tokio::io::split(duplex);
                tokio::io::copy(&mut read, &mut write).await.expect("everything comes back");
                write.shutdown().await.expect("the end comes back");
            });
            let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
            response.headers_mut().insert("connection", "upgrade".parse().expect("a field value"));
            response.headers_mut().insert("upgrade", "test".parse().expect("a field value"));
            Ok(response)
        }
        "/echo" => match request.into_body().collect().await {
            Ok(body) => {
                let body = String::from_utf8(body.to_bytes().to_vec()).expect("tests send text");
                Ok(text(StatusCode::OK, &body))
            }
            Err(error) => Ok(text(StatusCode::BAD_REQUEST, &error.to_string())),
        },
        "/later" => {
            tokio::spawn(async move {
                let body = request.into_body().collect().await.map(Collected::to_bytes);
                shared.bodies.send(body.map_err(|error| error.to_string())).expect("the test is waiting");
            });
            Ok(text(StatusCode::ACCEPTED, "later"))
        }
        "/wait" => {
            let released = shared.release.notified();
            shared.waiting.send(()).expect("the test is waiting");
            released.await;
            // Not in the poll that received the request, which may still run while a test continues.
            tokio::task::yield_now().await;
            Ok(text(StatusCode::OK, "waited"))
        }
        "/events" => Ok(events(shared)),
        "/ignore" => Ok(text(StatusCode::OK, "ignored")),
        "/refuse" => Ok(text(StatusCode::PAYLOAD_TOO_LARGE, "too large")),
        "/medium" => Ok(text(StatusCode::OK, &"a".repeat(300_000))),
        "/large" => Ok(text(StatusCode::OK, &"a".repeat(LARGE_BYTES))),
        "/panic" => panic!("as the test asked"),
        _ => {
            let peer = request.extensions().get::<Peer>().expect("every request carries its peer");
            let seen =
                format!("{} {} {:?} tls={}", request.method(), request.uri(), request.version(), peer.tls);
            Ok(text(StatusCode::OK, &seen))
        }
    }
}

/// One event immediately, and one when it is released.
fn events(shared: Shared) -> Response<Body> {
    let events = futures_util::stream::unfold(0, move |number| {
        let shared = shared.clone();
        async move {
            match number {
                0 => {}
                1 => {
                    let released = shared.release.notified();
                    shared.waiting.send(()).expect("the test is waiting");
                    released.await;
                }
                _ => return None,
            }
            let event = Bytes::from(format!("event {number}\n"));
            Some((Ok(http_body::Frame::data(event)), number + 1))
        }
    });
    Response::new(BodyExt::boxed_unsync(http_body_util::StreamBody::new(events)))
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Sends bytes, and returns what is received until the server closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        // The server may have responded and closed before it read everything.
        let _ = stream.write_all(bytes).await;
        let mut response = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            response.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8(response).expect("text")
    };
    timeout(PATIENCE, exchange).await.expect("in time")
}

/// Connects as `localhost` with TLS, trusting the certificate in `trusted` only.
pub(crate) async fn tls_connect(
    address: SocketAddr,
    trusted: &Path,
    protocols: &[&[u8]],
) -> TlsStream<TcpStream> {
    let connector = TlsConnector::from(Arc::new(tls_client(trusted, protocols)));
    let stream = TcpStream::connect(address).await.expect("connected");
    let name = "localhost".try_into().expect("a name");
    timeout(PATIENCE, connector.connect(name, stream)).await.expect("in time").expect("trusted")
}

pub(crate) fn tls_client(trusted: &Path, protocols: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// The counters in the Prometheus text format.
pub(crate) fn encoded(registry: &prometheus_client::registry::Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("a String takes all text");
    text
}
