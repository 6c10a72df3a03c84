//! The process about itself: health, readiness, metrics, and the operations of every service.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway::UpstreamService;
use http::Request;
use http_messages::Body;
use tower::ServiceExt;

use super::row::{Drain, Phase, Row, ServiceHandle, ServiceJoin, Stage, Started, Starting};
use crate::admin::{self, OwnPort};
use crate::config::{NoOptions, Section};
use crate::guard::{GuardAudience, Rules};

pub(super) static ROW: Row = Row {
    // Health, metrics and the rest of the admin API on a port of their own; the gateway serves them to this machine.
    section: Section::of::<NoOptions>("admin", None, Some("chappe")).only_one(),
    title: "Admin",
    routes: &["/chappe", "/healthz", "/readyz", "/metrics"],
    rules: Some(&Rules {
        paths: &[("/healthz", GuardAudience::Anyone), ("/readyz", GuardAudience::Anyone)],
        others: GuardAudience::Operator,
    }),
    made_key_bytes: None,
    phase: Phase::Apps,
    drain: Drain { stage: Stage::Storage, closes_listener_first: false, what: "the admin API" },
    admin_shortcuts: &[],
    on_own_port: |service| UpstreamService::new(service.map_request(on_own_port)),
    runs: |_| Ok(()),
    describe: |_| None,
    start: |starting| Box::pin(async move { Ok(start(starting)) }),
};

fn start(starting: Starting<'_>) -> Started {
    let (service, handle, join) = admin::start();
    *starting.admin = Some(handle.clone());
    Started {
        service: UpstreamService::new(service),
        handle: Arc::new(handle),
        join: Box::new(join),
        parts: Vec::new(),
        about: "health, metrics".to_owned(),
    }
}

fn on_own_port(mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(OwnPort);
    request
}

impl ServiceHandle for admin::Handle {}

#[async_trait]
impl ServiceJoin for admin::Join {
    async fn drain(self: Box<Self>, _: Duration) {
        admin::Join::drain(*self).await;
    }
}
