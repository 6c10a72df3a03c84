//! The realtime service: SignalR clients, app servers, and the REST operations.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use gateway::UpstreamService;
use realtime::{OpenKeysError, StartError};
use realtime_engine::NodeId;
use serde_json::{Map, Value, json};

use super::row::{Drain, Phase, Row, ServiceHandle, ServiceJoin, Stage, Started, Starting};
use crate::change::Change;
use crate::config::{BodyBound, BodyStorage, Section, SectionOptions};
use crate::error_table::{configuration, data, process};
use crate::guard::{GuardAudience, Rules};
use http_messages::{ErrorDescription, error_chain};

pub(super) static ROW: Row = Row {
    // The port of the SignalR emulator.
    section: Section::of::<realtime::Options>("realtime", Some(8888), Some("realtime")),
    title: "Realtime",
    routes: &["/client"],
    // Clients connect from pages of any origin, as with the emulator and Azure SignalR: their token identifies them.
    rules: Some(&Rules { paths: &[("/client", GuardAudience::Browser)], others: GuardAudience::App }),
    made_key_bytes: Some(32),
    phase: Phase::Storage,
    drain: Drain { stage: Stage::Connections, closes_listener_first: false, what: "the realtime service" },
    admin_shortcuts: &[],
    on_own_port: |service| service,
    runs: |_| Ok(()),
    describe: |error| error.downcast_ref().map(describe),
    start: |starting| Box::pin(start(starting)),
};

fn describe(error: &StartError) -> &'static ErrorDescription {
    match error {
        StartError::Options(_) | StartError::Keys(OpenKeysError::Options(_)) => &configuration::REALTIME,
        StartError::Engine(_) => &process::RUNTIME,
        _ => &data::REALTIME_STATE,
    }
}

/// The cluster node of this process: a single node is a cluster of one.
const NODE: NodeId = NodeId(0);

impl SectionOptions for realtime::Options {
    fn resolve_paths(&mut self, base: &Path) {
        if let Some(file) = &mut self.upstream.templates_file {
            *file = base.join(&*file);
        }
    }

    fn files(&self) -> Vec<(&'static str, PathBuf)> {
        let file = self.upstream.templates_file.clone();
        file.into_iter().map(|file| ("upstream.templates_file", file)).collect()
    }

    fn validate(&self, section: &str, _: &[String]) -> Result<(), String> {
        self.check().map_err(|error| format!("[{section}]: {}", error_chain(&error)))
    }

    /// The identity of the machine if the configuration names no other: App Service sets two variables with the address of its
    /// tokens.
    fn variables(&self) -> &'static [(&'static str, &'static str)] {
        match (&self.upstream.identity_endpoint, &self.upstream.identity_header) {
            (None, None) => &[
                ("upstream.identity_endpoint", "IDENTITY_ENDPOINT"),
                ("upstream.identity_header", "IDENTITY_HEADER"),
            ],
            _ => &[],
        }
    }

    fn bodies(&self) -> Vec<BodyBound> {
        let in_memory = |key, bytes| BodyBound { key, bytes, storage: BodyStorage::InMemory };
        vec![
            in_memory("body_bytes_max", self.body_bytes_max),
            in_memory("engine.message_bytes_max", self.engine.message_bytes_max as usize),
            in_memory("upstream.answer_bytes_max", self.upstream.answer_bytes_max.get()),
        ]
    }

    fn set_name(&mut self, name: &str) {
        if self.instance == Self::default().instance {
            name.clone_into(&mut self.instance);
        }
    }

    fn account(&self) -> Option<(&'static str, &str)> {
        Some(("instance", &self.instance))
    }

    fn primary_key(&mut self) -> Option<&mut Option<String>> {
        Some(&mut self.primary_key)
    }
}

async fn start(starting: Starting<'_>) -> anyhow::Result<Started> {
    let mut options: realtime::Options = starting.options();
    options.development_keys = starting.config.is_development();
    let resources = starting.resources;
    let dependencies = realtime::Dependencies {
        node: NODE,
        tracer: resources.tracer.clone(),
        journal: resources.store.journal(),
        registry: resources.store.registry(),
        egress: resources.egress.clone(),
        bodies: resources.bodies.clone(),
        supervisor: starting.supervisor.clone(),
        listeners: Vec::new(),
    };
    let started = realtime::start(options, dependencies, starting.metrics).await;
    let (service, handle, join) = started.context("the realtime service cannot start")?;
    starting.embedded.realtime.insert(starting.id.clone(), handle.clone());
    Ok(Started {
        service: UpstreamService::new(service),
        handle: Arc::new(handle),
        join: Box::new(join),
        parts: Vec::new(),
        about: "SignalR clients and the REST interface".to_owned(),
    })
}

#[async_trait]
impl ServiceHandle for realtime::Handle {
    fn admin(&self, mount: &str) -> Option<UpstreamService> {
        Some(UpstreamService::new(realtime::Admin::new(self.clone(), mount)))
    }

    fn prepare(&self, options: &dyn SectionOptions) -> Result<Change, String> {
        let options = options.as_any().downcast_ref().expect("a row has the options of its section");
        self.prepare_options(options).map(Change::from_future).map_err(|error| error_chain(&error))
    }

    async fn info(&self) -> Map<String, Value> {
        let connections = self.engine().connection_count(None).await.unwrap_or(0);
        Map::from_iter([("connections".to_owned(), json!(connections))])
    }
}

#[async_trait]
impl ServiceJoin for realtime::Join {
    async fn drain(self: Box<Self>, limit: Duration) {
        // Each of its parts has the limit for itself.
        if tokio::time::timeout(limit, realtime::Join::drain(*self, limit)).await.is_err() {
            tracing::warn!(
                "the realtime service did not drain in time: what it still had to tell is cut off"
            );
        }
    }
}
