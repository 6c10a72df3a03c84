//! [`Service`]: authenticates, parses and dispatches requests; the operations are in `service/`.

mod account;
mod batch;
mod definitions;
mod feeds;
mod items;
mod offers;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_messages::{Body, Budget};
use identity::master_key::{DateRule, SignatureError, SignedParts, verify};
use prometheus_client::registry::Registry;
use supervision::Supervisor;
use trace::Tracer;

use crate::accepted_keys::{AcceptedKeys, parse_keys};
use crate::catalog::Container;
use crate::clock::Clock;
use crate::error::{RequestFailure, SUBSTATUS_STALE_CONTAINER, sentence};
use crate::error_table;
use crate::from_protocol::{Address, ContainerAddress, DocumentRequest, ScriptKind, is_from_this_process};
use crate::metrics::Metrics;
use crate::store::DocumentStore;
use crate::to_protocol::{self, Reply};
use crate::{Error, Handle, Join, Options};

/// The error for a client in direct mode, which requests the addresses of replicas.
const NO_DIRECT_MODE: &str = "This service has no direct mode: set ConnectionMode.Gateway in .NET \
    (CosmosClientOptions.ConnectionMode), or call gatewayMode() on Java's CosmosClientBuilder.";

/// The document service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    inner: Arc<Inner>,
    /// The memory budget that request bodies share with those of other services.
    bodies: Budget,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    keys: AcceptedKeys,
    store: DocumentStore,
    clock: Clock,
    tracer: Tracer,
    metrics: Metrics,
}

/// What the service needs from the process.
#[derive(Debug)]
pub struct Dependencies {
    /// Where spans go.
    pub tracer: Tracer,
    /// The memory budget that request bodies share with those of other services.
    pub bodies: Budget,
    /// Supervises the threads of the service.
    pub supervisor: Supervisor,
}

/// Opens the store in the options' folder and starts its threads. Returns the HTTP service, the handle for other parts of the
/// process, and the join handle that ends it.
///
/// # Errors
///
/// If an option is invalid, the store is damaged or in use, or a thread cannot be started.
pub fn start(
    options: Options,
    dependencies: Dependencies,
    metrics: &mut Registry,
) -> Result<(Service, Handle, Join), Error> {
    let Dependencies { tracer, bodies, supervisor } = dependencies;
    let (service, handle) = Service::open_in(options, tracer, metrics, Clock::system(), &supervisor)?;
    let join = Join(handle.clone());
    Ok((service.with_bodies(bodies), handle, join))
}

impl Service {
    /// Opens the store in the options' folder and starts its threads.
    pub fn open(options: Options, tracer: Tracer, registry: &mut Registry) -> Result<(Self, Handle), Error> {
        Self::open_with_clock(options, tracer, registry, Clock::system())
    }

    /// Like [`Self::open`], with a clock of a test.
    pub fn open_with_clock(
        options: Options,
        tracer: Tracer,
        registry: &mut Registry,
        clock: Clock,
    ) -> Result<(Self, Handle), Error> {
        Self::open_in(options, tracer, registry, clock, &Supervisor::default())
    }

    fn open_in(
        options: Options,
        tracer: Tracer,
        registry: &mut Registry,
        clock: Clock,
        supervisor: &Supervisor,
    ) -> Result<(Self, Handle), Error> {
        options.check()?;
        let keys = parse_keys(&options)?;
        let metrics = Metrics::register(registry);
        let store = DocumentStore::open(&options, clock.clone(), supervisor, &metrics)?;
        let keys = AcceptedKeys::new(keys, options.development_key);
        let handle = Handle { store: store.clone(), keys: keys.clone() };
        let inner = Inner { options, keys, store, clock, tracer, metrics };
        Ok((Self { inner: Arc::new(inner), bodies: Budget::default() }, handle))
    }

    /// Sets the memory budget for request bodies, which the whole process shares. Without it the service has its own budget.
    #[must_use]
    pub fn with_bodies(self, bodies: Budget) -> Self {
        Self { bodies, ..self }
    }

    /// Responds to a request.
    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let activity = activity(&head.headers);
        let origin = loopback_origin(&head.headers);
        let (operation, reply) = if head.method == Method::OPTIONS {
            ("options", Ok(preflight()))
        } else {
            self.answer_call(head, body, &activity).await
        };
        let reply = reply.unwrap_or_else(|failure| to_protocol::refused(&failure, &activity));
        self.inner.metrics.request(operation, reply.status.as_u16());
        let reply = match origin {
            Some(origin) => {
                reply.with("access-control-allow-origin", origin).with("access-control-expose-headers", "*")
            }
            None => reply,
        };
        reply.into_response(&activity)
    }

    async fn answer_call(
        &self,
        head: http::request::Parts,
        body: Body,
        activity: &str,
    ) -> (&'static str, Result<Reply, RequestFailure>) {
        let address = Address::parse(head.uri.path());
        // Before the signature is verified: a client in direct mode signs this request for another resource, and would get an
        // error about a wrong key.
        if address == Address::DirectAddresses {
            return ("direct", Err(RequestFailure::bad_request(NO_DIRECT_MODE)));
        }
        // No body is read before the client is authenticated.
        if let Err(failure) = self.authenticate(&head) {
            return ("refused", Err(failure));
        }
        let body = match self.read_body(body).await {
            Ok(body) => body,
            Err(failure) => return ("refused", Err(failure)),
        };
        let call = DocumentRequest::new(head, address, body, activity.to_owned());
        if let Err(failure) = call.check_headers() {
            return ("refused", Err(failure));
        }
        self.dispatch(&call).await
    }

    /// Verifies the signature, unless the caller is in this process.
    fn authenticate(&self, head: &http::request::Parts) -> Result<(), RequestFailure> {
        if is_from_this_process(&head.extensions) {
            return Ok(());
        }
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let parts = SignedParts {
            verb: head.method.as_str(),
            path: head.uri.path(),
            ms_date: text("x-ms-date").unwrap_or_default(),
            date: text("date").unwrap_or_default(),
        };
        let now = u64::try_from(self.inner.clock.seconds()).unwrap_or_default();
        let dates = match self.inner.options.signature_age_max_s {
            None => DateRule::Any,
            Some(age_max_s) => DateRule::Fresh { now, age_max_s: age_max_s.get() },
        };
        verify(&self.inner.keys.current(), text("authorization"), &parts, dates).map_err(|error| {
            let kind = match error {
                SignatureError::DateOutside { .. } => &error_table::FORBIDDEN,
                _ => &error_table::UNAUTHORIZED,
            };
            RequestFailure::new(kind, sentence(&error.to_string()))
        })
    }

    async fn read_body(&self, mut body: Body) -> Result<Bytes, RequestFailure> {
        let read = self.bodies.read(&mut body, self.inner.options.body_bytes_max).await;
        Ok(read?.into_bytes())
    }

    /// Executes a request; also returns the operation, as a metrics label.
    async fn dispatch(&self, call: &DocumentRequest) -> (&'static str, Result<Reply, RequestFailure>) {
        match (call.method.as_str(), &call.address) {
            ("GET", Address::Account) => ("account_read", Ok(self.account(call))),
            ("GET" | "POST" | "DELETE", Address::Databases | Address::Database(_)) => {
                ("database", self.databases(call).await)
            }
            ("GET" | "POST", Address::Containers(_)) | ("GET" | "PUT" | "DELETE", Address::Container(_)) => {
                ("container", self.containers(call).await)
            }
            ("GET", Address::Ranges(owner)) => ("ranges", self.ranges(call, owner).await),
            ("GET", Address::Items(owner)) => match call.is_change_feed() {
                Ok(true) => ("feed", self.change_feed(call, owner).await),
                Ok(false) => ("item_list", self.list_items(call, owner).await),
                Err(failure) => ("feed", Err(failure)),
            },
            // Query plans first: Python's request for one also looks like a create.
            ("POST", Address::Items(owner)) if call.is_query_plan() => {
                ("query_plan", self.query_plan(call, owner).await)
            }
            ("POST", Address::Items(owner)) if call.is_batch() => ("batch", self.batch(call, owner).await),
            ("POST", Address::Items(owner)) if call.is_query() => {
                ("query", self.query_items(call, owner).await)
            }
            ("POST", Address::Items(owner)) => ("item_write", self.write_item(call, owner, None).await),
            ("GET", Address::Item(owner, id)) => ("item_read", self.read_item(call, owner, id).await),
            ("PUT" | "PATCH" | "DELETE", Address::Item(owner, id)) => {
                ("item_write", self.write_item(call, owner, Some(id)).await)
            }
            ("POST", Address::PartitionDelete(owner)) => {
                ("partition_delete", self.delete_partition(call, owner).await)
            }
            (_, Address::Offers | Address::Offer(_)) => ("offer", self.offers(call).await),
            (_, address) => ("other", self.unsupported_resource(call, address)),
        }
    }

    /// Resources that are not supported, or always empty.
    fn unsupported_resource(
        &self,
        call: &DocumentRequest,
        address: &Address,
    ) -> Result<Reply, RequestFailure> {
        let reads = call.method == Method::GET || call.is_query();
        match address {
            Address::Scripts(owner, kind, false) if reads => {
                let container = self.container(call, owner)?;
                let key = match kind {
                    ScriptKind::StoredProcedures => "StoredProcedures",
                    ScriptKind::Triggers => "Triggers",
                    ScriptKind::UserDefinedFunctions => "UserDefinedFunctions",
                    ScriptKind::Conflicts => "Conflicts",
                };
                Ok(Reply::new(StatusCode::OK, to_protocol::list::<&str>(&container.rid(), key, &[])))
            }
            Address::Scripts(_, _, true) if call.method == Method::GET => {
                Err(RequestFailure::not_found("The script or conflict"))
            }
            Address::Scripts(..) => Err(RequestFailure::not_supported(
                "Server-side JavaScript (stored procedures, triggers, functions)",
            )),
            Address::Users(database, false) if reads => {
                let database = self.database(database)?;
                let rid = crate::resource_id::database_rid(database.number);
                Ok(Reply::new(StatusCode::OK, to_protocol::list::<&str>(&rid, "Users", &[])))
            }
            Address::Users(_, true) if call.method == Method::GET => {
                Err(RequestFailure::not_found("The user or permission"))
            }
            Address::Users(..) => Err(RequestFailure::not_supported("Managing users and permissions")),
            Address::ClientKeys => Err(RequestFailure::not_found("The client encryption key")),
            Address::Unknown => Err(RequestFailure::not_found("A resource at this path")),
            _ => {
                let message = format!("{} is not possible on this resource.", call.method);
                Err(RequestFailure::new(&error_table::METHOD_NOT_ALLOWED, message))
            }
        }
    }

    /// The container of an address; an error if the client has an outdated one.
    fn container(
        &self,
        call: &DocumentRequest,
        owner: &ContainerAddress,
    ) -> Result<Arc<Container>, RequestFailure> {
        let snapshot = self.inner.store.catalog().now();
        let database = snapshot.database(&owner.database);
        let database = database
            .ok_or_else(|| RequestFailure::owner_missing(&format!("The database {:?}", owner.database)))?;
        let container = snapshot.container(database.number, &owner.container);
        let container = container
            .ok_or_else(|| RequestFailure::owner_missing(&format!("The container {:?}", owner.container)))?;
        // The client cached a container that was deleted and created again.
        if call.header("x-ms-cosmos-intended-collection-rid").is_some_and(|rid| rid != container.rid()) {
            let message = "The container was created again since the client last read it. Read it again.";
            return Err(RequestFailure::bad_request(message).with_substatus(SUBSTATUS_STALE_CONTAINER));
        }
        Ok(Arc::clone(container))
    }
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

/// The activity id of the client, or a new one.
fn activity(headers: &HeaderMap) -> String {
    let given = headers.get("x-ms-activity-id").and_then(|value| value.to_str().ok());
    let given = given.filter(|text| !text.is_empty() && text.len() <= 64);
    given.map_or_else(|| uuid::Uuid::new_v4().to_string(), to_protocol::header_safe)
}

/// The page's origin, if a browser asks from a page of this machine. Other pages get no permission to read answers.
fn loopback_origin(headers: &HeaderMap) -> Option<String> {
    let origin = headers.get(http::header::ORIGIN)?.to_str().ok()?;
    let host = origin.parse::<http::Uri>().ok()?.host()?.to_owned();
    matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]").then(|| origin.to_owned())
}

fn preflight() -> Reply {
    Reply::empty(StatusCode::NO_CONTENT)
        .with("access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE")
        .with("access-control-allow-headers", "authorization, content-type, if-match, if-none-match, a-im, prefer, traceparent, x-ms-date, x-ms-version, x-ms-documentdb-partitionkey, x-ms-documentdb-is-upsert, x-ms-documentdb-isquery, x-ms-continuation, x-ms-max-item-count")
        .with("access-control-max-age", "600")
}
