//! [`Transport`]: how requests of the dialect reach an account, and what the account tells us beside its answers.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use http::{Extensions, Request, Response};
use http_messages::{Body, BoxError};
use identity::master_key::{MasterKey, SignedParts};
use identity::{CosmosConnectionString, Principal};
use tokio::sync::watch;
use tower::ServiceExt as _;
use tower::util::BoxCloneService;
use trace::TraceContext;

/// Where a change comes from: its number in the container's feed (LSN), the trace that wrote it, and when.
pub type Origin = (u64, TraceContext, SystemTime);

/// Reads origins from the extensions of a feed answer.
pub type Origins = Arc<dyn Fn(&Extensions) -> Vec<Origin> + Send + Sync>;

/// Gives, for (database, container), a value that changes with every write: a trigger wakes at once instead of polling.
pub type Hints = Arc<dyn Fn(&str, &str) -> Option<watch::Receiver<u64>> + Send + Sync>;

/// From a connection string to the road it means.
pub type Resolver = Arc<dyn Fn(&CosmosConnectionString) -> Result<Transport, BoxError> + Send + Sync>;

/// A road to one account. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    /// A mutex only because the service need not be `Sync`; it is held while cloning.
    service: Arc<Mutex<Road>>,
    credentials: Credentials,
    hints: Option<Hints>,
    origins: Option<Origins>,
}

type Road = BoxCloneService<Request<Body>, Response<Body>, BoxError>;

/// An answer to come. Boxed, because the compiler cannot prove `Send` through nested futures over boxed errors.
type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

#[derive(Clone)]
enum Credentials {
    /// The caller is known: this process itself.
    Vouched(Principal),
    /// Each request is signed.
    Signed(MasterKey),
}

impl Transport {
    /// Calls a service of this process, which trusts `principal`.
    pub fn in_process<S>(service: S, principal: Principal) -> Self
    where
        S: tower::Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        Self::new(service, Credentials::Vouched(principal))
    }

    /// Sends through a client, each request signed with the account's key.
    pub fn signed<S>(client: S, key: MasterKey) -> Self
    where
        S: tower::Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        Self::new(client, Credentials::Signed(key))
    }

    /// With a signal for new changes, so that triggers need not wait for their next poll.
    #[must_use]
    pub fn with_hints(self, hints: Hints) -> Self {
        Self { hints: Some(hints), ..self }
    }

    /// With the traces of the changes that a feed answer holds.
    #[must_use]
    pub fn with_origins(self, origins: Origins) -> Self {
        Self { origins: Some(origins), ..self }
    }

    fn new<S>(service: S, credentials: Credentials) -> Self
    where
        S: tower::Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        let service = BoxCloneService::new(service.map_err(Into::into));
        Self { service: Arc::new(Mutex::new(service)), credentials, hints: None, origins: None }
    }

    /// Sends one request, vouched for or signed.
    pub(crate) fn call(&self, mut request: Request<Body>) -> Answering {
        match &self.credentials {
            Credentials::Vouched(principal) => {
                request.extensions_mut().insert(principal.clone());
            }
            Credentials::Signed(key) => sign(&mut request, key),
        }
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(service.oneshot(request))
    }

    pub(crate) fn hint(&self, database: &str, container: &str) -> Option<watch::Receiver<u64>> {
        self.hints.as_ref().and_then(|hints| hints(database, container))
    }

    pub(crate) fn origins(&self, extensions: &Extensions) -> Vec<Origin> {
        self.origins.as_ref().map(|origins| origins(extensions)).unwrap_or_default()
    }
}

fn sign(request: &mut Request<Body>, key: &MasterKey) {
    let ms_date =
        request.headers().get("x-ms-date").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parts =
        SignedParts { verb: request.method().as_str(), path: request.uri().path(), ms_date, date: "" };
    let authorization = identity::master_key::sign(key, &parts);
    let value = http::HeaderValue::try_from(authorization).expect("percent-encoded text is a header value");
    request.headers_mut().insert(http::header::AUTHORIZATION, value);
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let road = match self.credentials {
            Credentials::Vouched(_) => "in process",
            Credentials::Signed(_) => "signed",
        };
        f.debug_struct("Transport").field("road", &road).finish_non_exhaustive()
    }
}
