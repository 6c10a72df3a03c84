//! What every listener checks before a service receives the request: the name by which this process was addressed, the page that
//! sent the request, and the source of the caller's identity headers.
//!
//! It does not check keys and tokens; each service does that itself. The guard is needed where keys do not protect: in development
//! mode the keys are public, so that any web page that a developer opens could use them through the developer's browser.
//!
//! - `rules.rs`: each service's paths and their audiences. Data.
//! - `policy.rs`: which names and pages are admitted. Pure.
//! - `headers.rs`: the headers by which a platform identifies a caller, and who may send them. Pure.
//!
//! Start with [`Guard`] and [`GuardAudience`].

pub(crate) mod error_table;
mod headers;
mod policy;
mod refusal;
mod rules;

use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use gateway::UpstreamService;
use http::{Request, Response};
use http_messages::Body;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tower::Service;

use crate::change::Change;
use crate::config::{Config, GuardSection};
use headers::TrustedProxies;
use policy::Policy;
pub(crate) use rules::{GuardAudience, Rules};

/// Creates the guards of listeners and services. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Guard(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    development: bool,
    public_url: Option<String>,
    /// Replaced as a whole when `[guard]` changes.
    checks: RwLock<Arc<Checks>>,
    refused: Family<Labels, Counter>,
}

/// The state derived from `[guard]`.
#[derive(Debug)]
struct Checks {
    policy: Policy,
    proxies: TrustedProxies,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    reason: Reason,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Reason {
    Host,
    ForeignPage,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ForeignPage => "foreign page",
        }
    }
}

impl Guard {
    pub(crate) fn new(config: &Config, metrics: &mut Registry) -> Self {
        let refused = Family::default();
        metrics.register("guard_refused", "Requests that no service saw, by reason", refused.clone());
        let (development, public_url) = (config.is_development(), config.public_url.clone());
        let checks = RwLock::new(Arc::new(Checks::new(development, public_url.as_deref(), &config.guard)));
        Self(Arc::new(Shared { development, public_url, checks, refused }))
    }

    /// Prepares other names and proxies, for requests after the change.
    pub(crate) fn prepare(&self, section: &GuardSection) -> Change {
        let shared = Arc::clone(&self.0);
        let checks = Checks::new(shared.development, shared.public_url.as_deref(), section);
        Change::new(move || {
            *shared.checks.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(checks);
        })
    }

    /// Guards every request of one listener: checks the name by which this process is addressed, and removes headers that only a
    /// trusted proxy may send.
    pub(crate) fn listener(&self, service: UpstreamService) -> UpstreamService {
        UpstreamService::new(Guarded { guard: self.clone(), place: Place::Listener, service })
    }

    /// Guards a service by the audiences of its paths, both on its own port and behind the gateway.
    pub(crate) fn service(&self, rules: &'static Rules, service: UpstreamService) -> UpstreamService {
        UpstreamService::new(Guarded { guard: self.clone(), place: Place::Service(rules), service })
    }

    /// The response to a request that no service may receive.
    fn refusal(&self, place: Place, request: &mut Request<Body>) -> Option<Response<Body>> {
        let checks = Arc::clone(&self.0.checks.read().unwrap_or_else(PoisonError::into_inner));
        match place {
            Place::Listener => {
                let peer = request.extensions().get::<edge::Peer>().map(|peer| peer.remote.ip());
                checks.proxies.strip(peer, request.headers_mut());
                if !checks.policy.admits_host(request.uri()) {
                    self.refused(Reason::Host, request);
                    return Some(refusal::host(request.uri().host().unwrap_or_default()));
                }
            }
            Place::Service(rules) => {
                let audience = rules.audience(request.uri().path());
                if !checks.policy.admits_page(audience, request.method(), request.uri(), request.headers()) {
                    self.refused(Reason::ForeignPage, request);
                    return Some(refusal::foreign_page(request.headers()));
                }
            }
        }
        None
    }

    fn refused(&self, reason: Reason, request: &Request<Body>) {
        if self.0.refused.get_or_create(&Labels { reason }).inc() == 0 {
            let origin = request.headers().get(http::header::ORIGIN);
            tracing::warn!(
                reason = reason.text(),
                host = request.uri().host(),
                // The field is omitted if it is empty.
                origin = origin.map(|origin| String::from_utf8_lossy(origin.as_bytes())).as_deref(),
                path = request.uri().path(),
                "a request was refused that may come from a foreign web page (said once, counted in guard_refused); docs/guard.md says which are"
            );
        }
    }
}

impl Checks {
    fn new(development: bool, public_url: Option<&str>, section: &GuardSection) -> Self {
        Self {
            policy: Policy::new(development, public_url, &section.hosts),
            proxies: TrustedProxies::new(section),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Listener,
    Service(&'static Rules),
}

/// A service behind the guard.
#[derive(Clone, Debug)]
struct Guarded {
    guard: Guard,
    place: Place,
    service: UpstreamService,
}

impl Service<Request<Body>> for Guarded {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <UpstreamService as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.guard.refusal(self.place, &mut request) {
            None => self.service.call(request),
            Some(refusal) => Box::pin(std::future::ready(Ok(refusal))),
        }
    }
}
