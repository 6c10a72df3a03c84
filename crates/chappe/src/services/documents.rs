//! The document service: JSON containers with a change feed, as Cosmos DB SDKs speak with them.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use gateway::UpstreamService;
use http_messages::error_chain;

use http_messages::ErrorDescription;

use super::row::{Drain, Phase, Row, ServiceHandle, ServiceJoin, Stage, Started, Starting};
use crate::change::Change;
use crate::config::{BodyBound, BodyStorage, Section, SectionOptions};
use crate::data_folder::{self, DataPart, documents_folder};
use crate::error_table::{configuration, data, process};
use crate::guard::{GuardAudience, Rules};

pub(super) static ROW: Row = Row {
    // The port of the Cosmos DB emulator.
    section: Section::of::<documents::Options>("documents", Some(8081), Some("documents")),
    title: "Documents",
    routes: &[],
    // Every request is signed with the account key.
    rules: Some(&Rules { paths: &[], others: GuardAudience::App }),
    made_key_bytes: Some(64),
    phase: Phase::Storage,
    drain: Drain { stage: Stage::Storage, closes_listener_first: false, what: "the document store" },
    admin_shortcuts: &[],
    on_own_port: |service| service,
    runs: |_| Ok(()),
    describe: |error| error.downcast_ref().map(describe),
    start: |starting| Box::pin(async move { start(starting) }),
};

fn describe(error: &documents::Error) -> &'static ErrorDescription {
    match error {
        documents::Error::Folder { .. } => &data::FOLDER,
        documents::Error::InUse { .. } => &data::IN_USE,
        documents::Error::Database { .. } => &data::DATABASE,
        documents::Error::File(error) => data_folder::of_database(error),
        documents::Error::Damaged(_) => &data::DAMAGED,
        documents::Error::Option { .. } => &configuration::DOCUMENTS,
        documents::Error::Thread(_) => &process::RUNTIME,
        _ => &process::OTHER,
    }
}

/// Longest age of a signature's date if other machines can connect, in seconds: the limit of Azure Cosmos DB.
const SIGNATURE_AGE_MAX_S: NonZeroU64 = NonZeroU64::new(15 * 60).expect("not zero");

impl SectionOptions for documents::Options {
    fn bodies(&self) -> Vec<BodyBound> {
        vec![BodyBound { key: "body_bytes_max", bytes: self.body_bytes_max, storage: BodyStorage::InMemory }]
    }

    fn public_url(&self) -> Option<(&'static str, &str)> {
        Some(("public_url", self.public_url.as_deref()?))
    }

    fn set_name(&mut self, name: &str) {
        if self.account == Self::default().account {
            name.clone_into(&mut self.account);
        }
    }

    fn primary_key(&mut self) -> Option<&mut Option<String>> {
        Some(&mut self.primary_key)
    }
}

fn start(starting: Starting<'_>) -> anyhow::Result<Started> {
    let mut options: documents::Options = starting.options();
    options.development_key = starting.config.is_development();
    if !options.development_key {
        options.signature_age_max_s.get_or_insert(SIGNATURE_AGE_MAX_S);
    }
    let part = DataPart::Documents(starting.id.name.clone());
    options.data_dir = starting.data.path().join(documents_folder(starting.id.name.as_deref()));
    options.accept_loss = starting.data.accepts(&part);
    let resources = starting.resources;
    let dependencies = documents::Dependencies {
        tracer: resources.tracer.clone(),
        bodies: resources.bodies.clone(),
        supervisor: starting.supervisor.clone(),
    };
    let started = documents::start(options, dependencies, starting.metrics);
    let (service, handle, join) = started.context("the document service cannot start")?;
    let component = starting.supervisor.component("documents files");
    component.set_ready();
    handle.when_damaged(move |why| component.set_not_ready(why));
    starting.embedded.documents.insert(starting.id.clone(), (service.clone(), handle.clone()));
    let parts = vec![(part, handle.store_id())];
    Ok(Started {
        service: UpstreamService::new(service),
        handle: Arc::new(handle),
        join: Box::new(join),
        parts,
        about: "any Cosmos DB SDK".to_owned(),
    })
}

impl ServiceHandle for documents::Handle {
    fn prepare(&self, options: &dyn SectionOptions) -> Result<Change, String> {
        let options = options.as_any().downcast_ref().expect("a row has the options of its section");
        self.prepare_keys(options).map(Change::new).map_err(|error| error_chain(&error))
    }
}

#[async_trait]
impl ServiceJoin for documents::Join {
    /// Only the limit of the whole process applies: acknowledged writes must be stored.
    async fn drain(self: Box<Self>, _: Duration) {
        documents::Join::drain(*self).await;
    }
}
