//! [`AccountTransport`]: how requests reach an account, and what an account in this process reports beside its responses.

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

/// The origin of a change: its number in the container's feed (LSN), the trace that wrote it, and when.
pub type ChangeOrigin = (u64, TraceContext, SystemTime);

/// Reads the origins from the extensions of a feed response.
pub type ChangeOrigins = Arc<dyn Fn(&Extensions) -> Vec<ChangeOrigin> + Send + Sync>;

/// For (database, container), a value that changes with every write, so that a trigger reads at once instead of at its next poll.
pub type ChangeHints = Arc<dyn Fn(&str, &str) -> Option<watch::Receiver<u64>> + Send + Sync>;

/// Chooses the transport for a connection string.
pub type AccountResolver =
    Arc<dyn Fn(&CosmosConnectionString) -> Result<AccountTransport, BoxError> + Send + Sync>;

/// The way to send requests to one account. Cheap to clone.
#[derive(Clone)]
pub struct AccountTransport {
    /// The mutex exists because the service need not be `Sync`; it is locked only while the service is cloned.
    service: Arc<Mutex<AccountService>>,
    authorization: Authorization,
    hints: Option<ChangeHints>,
    origins: Option<ChangeOrigins>,
}

type AccountService = BoxCloneService<Request<Body>, Response<Body>, BoxError>;

/// Boxed, because the compiler cannot prove `Send` through nested futures over boxed errors.
type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

#[derive(Clone)]
enum Authorization {
    /// Each request carries this principal: a call within the process.
    Principal(Principal),
    /// Each request is signed with this key.
    MasterKey(MasterKey),
}

impl AccountTransport {
    /// Calls a service of this process as `principal`.
    pub fn in_process<S>(service: S, principal: Principal) -> Self
    where
        S: tower::Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        Self::new(service, Authorization::Principal(principal))
    }

    /// Sends requests through a client and signs each with the account's key.
    pub fn signed<S>(client: S, key: MasterKey) -> Self
    where
        S: tower::Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        Self::new(client, Authorization::MasterKey(key))
    }

    /// Adds a signal for new changes, so that triggers do not wait for their next poll.
    #[must_use]
    pub fn with_hints(self, hints: ChangeHints) -> Self {
        Self { hints: Some(hints), ..self }
    }

    /// Adds the origins of the changes in a feed response.
    #[must_use]
    pub fn with_origins(self, origins: ChangeOrigins) -> Self {
        Self { origins: Some(origins), ..self }
    }

    /// Whether requests leave the process.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.authorization, Authorization::MasterKey(_))
    }

    fn new<S>(service: S, authorization: Authorization) -> Self
    where
        S: tower::Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        let service = BoxCloneService::new(service.map_err(Into::into));
        Self { service: Arc::new(Mutex::new(service)), authorization, hints: None, origins: None }
    }

    /// Sends one request with its authorization.
    pub(crate) fn call(&self, mut request: Request<Body>) -> ResponseFuture {
        match &self.authorization {
            Authorization::Principal(principal) => {
                request.extensions_mut().insert(principal.clone());
            }
            Authorization::MasterKey(key) => sign(&mut request, key),
        }
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(service.oneshot(request))
    }

    pub(crate) fn hint(&self, database: &str, container: &str) -> Option<watch::Receiver<u64>> {
        self.hints.as_ref().and_then(|hints| hints(database, container))
    }

    pub(crate) fn origins(&self, extensions: &Extensions) -> Vec<ChangeOrigin> {
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

impl fmt::Debug for AccountTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.authorization {
            Authorization::Principal(_) => "in process",
            Authorization::MasterKey(_) => "signed",
        };
        f.debug_struct("Transport").field("kind", &kind).finish_non_exhaustive()
    }
}
