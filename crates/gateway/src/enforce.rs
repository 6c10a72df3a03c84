//! Handles a request: matches the route once, and sends the request to its target.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use http::{Request, Response};
use http_messages::Body;
use prometheus_client::registry::Registry;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use crate::error::RouteRejection;
use crate::matching::Table;
use crate::metrics::{Metrics, RequestLabels};
use crate::static_files::{Directories, Directory};
use crate::{Options, RouteError, RouteTarget};

/// A service in this process that routes may lead to.
pub type UpstreamService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The gateway as a service over requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    /// Replaced as a whole, so that a request sees either the old routes or the new ones.
    compiled: Arc<RwLock<Arc<Compiled>>>,
}

/// Changes the routes of a running gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    compiled: Arc<RwLock<Arc<Compiled>>>,
    upstreams: Arc<BTreeMap<String, UpstreamService>>,
}

/// Ends the gateway. It has no tasks of its own: its requests belong to the listener, and the services behind it own their work.
#[derive(Debug)]
pub struct Join(());

/// The dependencies of the gateway.
#[derive(Clone, Debug, Default)]
pub struct Dependencies {
    /// The services of this process, by their names in routes.
    pub upstreams: BTreeMap<String, UpstreamService>,
}

#[derive(Debug)]
struct Compiled {
    table: Table<Step>,
    metrics: Metrics,
}

/// What a matched route does, resolved when the configuration is loaded.
#[derive(Debug)]
struct Step {
    /// The route's path, as a metric label.
    label: String,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Forward(UpstreamService),
    ReadFile(Directory),
}

/// Compiles the routes.
///
/// # Errors
///
/// If a route is wrong, or leads to a service that is not among the dependencies.
pub fn start(
    options: &Options,
    dependencies: Dependencies,
    metrics: &mut Registry,
) -> Result<(Service, Handle, Join), RouteError> {
    let Dependencies { upstreams } = dependencies;
    let table = compile(options, &upstreams)?;
    let compiled = Compiled { table, metrics: Metrics::register(metrics) };
    let compiled = Arc::new(RwLock::new(Arc::new(compiled)));
    let handle = Handle { compiled: Arc::clone(&compiled), upstreams: Arc::new(upstreams) };
    Ok((Service { compiled }, handle, Join(())))
}

fn compile(
    options: &Options,
    upstreams: &BTreeMap<String, UpstreamService>,
) -> Result<Table<Step>, RouteError> {
    let services: Vec<&str> = upstreams.keys().map(String::as_str).collect();
    let directories = Directories::new();
    let rows = options.targets(&services)?.into_iter().map(|(path, target)| {
        let action = match target {
            RouteTarget::Service(name) => Action::Forward(upstreams[&name].clone()),
            RouteTarget::Directory(directory) => Action::ReadFile(directories.at(directory)),
        };
        (path.clone(), Step { label: path, action })
    });
    Ok(Table::new(rows))
}

impl Handle {
    /// Compiles other routes; calling the returned function replaces all routes at once. Requests matched earlier continue on the
    /// old routes.
    ///
    /// # Errors
    ///
    /// If a route is wrong, or leads to a service that does not run.
    pub fn prepare_routes(
        &self,
        options: &Options,
    ) -> Result<impl FnOnce() + Send + 'static + use<>, RouteError> {
        let table = compile(options, &self.upstreams)?;
        let current = Arc::clone(&self.compiled);
        Ok(move || {
            let mut compiled = current.write().unwrap_or_else(PoisonError::into_inner);
            *compiled = Arc::new(Compiled { table, metrics: compiled.metrics.clone() });
        })
    }
}

impl Join {
    /// Returns immediately: nothing of the gateway runs after its listener has ended.
    #[expect(clippy::unused_async, reason = "every service ends by the same call")]
    pub async fn drain(self) {}
}

impl Compiled {
    /// Matches the request and starts handling it; the returned future is the response.
    ///
    /// Not an `async fn`: a service's future that is made inside an `async` block loses its `'static` body type, and with
    /// it `Send` (rust-lang/rust#110338).
    fn enforce(self: Arc<Self>, request: Request<Body>) -> Answer {
        let path = request.uri().path().to_owned();
        let Some(matched) = self.table.find(&path) else {
            let response = RouteRejection::NoRoute.respond();
            self.count("none", &response);
            return Box::pin(std::future::ready(Ok(response)));
        };
        let label = matched.target.label.clone();
        let response: Answer = match &matched.target.action {
            Action::Forward(upstream) => Box::pin(upstream.clone().oneshot(request)),
            Action::ReadFile(directory) => {
                let (head, _) = request.into_parts();
                let (directory, rest) = (directory.clone(), matched.rest.to_owned());
                Box::pin(async move { Ok(directory.respond(&head.method, &head.headers, &rest).await) })
            }
        };
        Box::pin(async move {
            let response = response.await?;
            self.count(&label, &response);
            Ok(response)
        })
    }

    fn count(&self, route: &str, response: &Response<Body>) {
        let labels = RequestLabels { route: route.to_owned(), status: response.status().as_u16() };
        self.metrics.requests.get_or_create(&labels).inc();
    }
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let compiled = Arc::clone(&self.compiled.read().unwrap_or_else(PoisonError::into_inner));
        compiled.enforce(request)
    }
}

#[cfg(test)]
mod tests;
