//! [`Listener`]: accepts connections, owns their tasks, and drains them.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_messages::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Quotas;
use crate::activity::Activity;
use crate::bind::{self, BindError};
use crate::connection::{self, AcceptedConnection, Shared};
use crate::connection_service::RequestService;
use crate::connections::{Connections, Drained};
use crate::descriptors::Descriptors;
use crate::live_options::LiveOptions;
use crate::metrics::{ListenerMetrics, Metrics};
use crate::options::{Options, milliseconds};
use crate::platform;
use crate::tls::TlsConfig;

/// How long accepting pauses if the operating system cannot open another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A bound port (or the same port on both families of localhost) that is ready to serve.
///
/// Connections queue from the moment of binding; no connection is accepted before [`Listener::serve`].
#[derive(Debug)]
pub struct Listener {
    name: String,
    sockets: Vec<std::net::TcpListener>,
    options: LiveOptions,
    metrics: Metrics,
    quotas: Quotas,
    tls: Option<TlsConfig>,
}

impl Listener {
    /// Binds `address`; port 0 selects any free port. `[::]` accepts IPv4 as well. `name` appears in logs and metrics.
    ///
    /// # Errors
    ///
    /// If the port is in use or forbidden, or the address is not one of this machine.
    pub fn bind(name: impl Into<String>, address: SocketAddr) -> Result<Self, BindError> {
        Ok(Self::from_sockets(name.into(), vec![bind::bind(address)?]))
    }

    /// Binds 127.0.0.1 and, if the machine has it, `[::1]`, on the same port; port 0 selects any port that is free on both.
    ///
    /// # Errors
    ///
    /// If the port is in use or forbidden on either.
    pub fn bind_localhost(name: impl Into<String>, port: u16) -> Result<Self, BindError> {
        Ok(Self::from_sockets(name.into(), bind::bind_localhost(port)?))
    }

    fn from_sockets(name: String, sockets: Vec<std::net::TcpListener>) -> Self {
        Self {
            name,
            sockets,
            options: LiveOptions::default(),
            metrics: Metrics::default(),
            quotas: Quotas::default(),
            tls: None,
        }
    }

    /// Sets the limits.
    #[must_use]
    pub fn with_options(self, options: Options) -> Self {
        self.options.set(options);
        self
    }

    /// The limits, which may be replaced while the listener serves.
    pub fn live_options(&self) -> LiveOptions {
        self.options.clone()
    }

    /// Counts in `metrics`.
    #[must_use]
    pub fn with_metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = metrics.clone();
        self
    }

    /// Shares `quotas` with the other listeners of the process.
    #[must_use]
    pub fn with_quotas(mut self, quotas: &Quotas) -> Self {
        self.quotas = quotas.clone();
        self
    }

    /// Accepts TLS as well as plain HTTP, on the same port. Without this, connections that start with TLS are closed.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The bound address with the actual port; for localhost the IPv4 address.
    pub fn local_addr(&self) -> SocketAddr {
        self.sockets[0].local_addr().expect("a bound listener has an address")
    }

    /// Every bound address.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        let address =
            |socket: &std::net::TcpListener| socket.local_addr().expect("a bound listener has an address");
        self.sockets.iter().map(address).collect()
    }

    /// Serves until `shutdown` is ready, then drains: stops accepting, lets running requests finish until the deadline in
    /// [`Options::drain_timeout_ms`], and closes the remaining connections. Every connection has ended when this returns; upgraded
    /// ones were handed over earlier.
    ///
    /// # Errors
    ///
    /// If the sockets cannot be registered with the runtime.
    pub async fn serve<S, F>(self, service: S, shutdown: F) -> io::Result<Drained>
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        F: Future<Output = ()>,
    {
        let sockets = self.sockets.into_iter().map(TcpListener::from_std).collect::<io::Result<Vec<_>>>()?;
        let (drain, draining) = watch::channel(false);
        let metrics = self.metrics.of(&self.name);
        let options = self.options;
        let shared = Shared {
            service,
            options: options.current(),
            tls: self.tls,
            metrics: metrics.clone(),
            quotas: self.quotas.clone(),
            draining,
        };
        let mut connections = Connections::new(self.quotas.descriptors().map(Descriptors::port), metrics);
        accept_until(shutdown, sockets, shared, &options, &mut connections).await;
        // Fails only if no connection is left to receive it.
        let _ = drain.send(true);
        Ok(connections.drain(milliseconds(options.current().drain_timeout_ms)).await)
    }
}

async fn accept_until<S, F>(
    shutdown: F,
    sockets: Vec<TcpListener>,
    mut shared: Shared<S>,
    options: &LiveOptions,
    connections: &mut Connections,
) where
    S: RequestService,
    F: Future<Output = ()>,
{
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (stream, remote) = tokio::select! {
            biased;
            () = &mut shutdown => return,
            Some(()) = connections.next_end() => continue,
            accepted = accept(&sockets, &shared.metrics) => accepted,
        };
        shared.options = options.current();
        let admission = match connections.admit(remote.ip(), &shared.options).await {
            Ok(admission) => admission,
            Err(reason) => {
                shared.metrics.refused(reason);
                drop(stream);
                continue;
            }
        };
        let activity = Arc::new(Activity::accepted(Instant::now()));
        let accepted = AcceptedConnection {
            stream,
            remote,
            activity: Arc::clone(&activity),
            descriptor: admission.descriptor,
        };
        connections.spawn(remote.ip(), activity, connection::serve(accepted, shared.clone()));
    }
}

/// The next connection on any of the sockets. Accept errors are counted, and never end the listener.
async fn accept(sockets: &[TcpListener], metrics: &ListenerMetrics) -> (TcpStream, SocketAddr) {
    loop {
        let accepted = std::future::poll_fn(|context| {
            for socket in sockets {
                if let Poll::Ready(accepted) = socket.poll_accept(context) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await;
        match accepted {
            Ok(accepted) => return accepted,
            Err(error) => {
                let exhausted = platform::is_exhausted(&error);
                if metrics.accept_failures.inc() == 0 {
                    tracing::warn!(listener = %metrics.name, %error, "cannot accept a connection (logged once, counted in edge_accept_failures); raise the limit of open files if it is reached");
                }
                if exhausted {
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }
}
