//! The connector for `cosmosDBTrigger` and `cosmosDB`: the bindings of Azure Cosmos DB.
//!
//! It calls the document service of this process if the connection string names this process, and otherwise sends requests over the
//! network.

use std::collections::BTreeMap;
use std::sync::Arc;

use connect_cosmosdb::{AccountResolver, AccountTransport, ChangeHints, ChangeOrigins, CosmosDb};
use egress::RequestTimeout;
use http::Request;
use http_messages::Body;
use identity::master_key::MasterKey;
use identity::{CosmosConnectionString, Principal};
use tower::ServiceExt;

use super::resolver::LocalServices;
use super::row::{ConnectorRow, Creating, Embedded};
use crate::config::{BodyBound, BodyStorage, ConnectorSection, SectionOptions, ServiceId};

pub(super) static ROW: ConnectorRow = ConnectorRow {
    section: ConnectorSection::of::<connect_cosmosdb::Options>("cosmosdb"),
    create: |creating| Arc::new(create(&creating)),
};

impl SectionOptions for connect_cosmosdb::Options {
    fn validate(&self, section: &str, _: &[String]) -> Result<(), String> {
        self.check().map_err(|error| format!("[{section}]: {error}"))
    }

    fn bodies(&self) -> Vec<BodyBound> {
        vec![BodyBound {
            key: "response_bytes_max",
            bytes: self.response_bytes_max.get(),
            storage: BodyStorage::InMemory,
        }]
    }
}

fn create(creating: &Creating<'_>) -> CosmosDb {
    let mut options: connect_cosmosdb::Options = creating.options();
    // Survives restarts: a process that was killed finds its own leases again and does not wait for them to expire.
    options.instance = format!("chappe-{}", creating.data_dir.display());
    let resolver =
        resolver(Arc::clone(&creating.local_services), creating.embedded, creating.egress, &options);
    CosmosDb::new(resolver, options, creating.bodies.clone())
}

/// Selects the client by the connection string.
fn resolver(
    local_services: Arc<LocalServices>,
    embedded: &Embedded,
    egress: &egress::Client,
    options: &connect_cosmosdb::Options,
) -> AccountResolver {
    let in_process = |(id, (service, handle)): (&ServiceId, &(documents::Service, documents::Handle))| {
        (id.clone(), in_process(service.clone(), handle))
    };
    let transports: BTreeMap<ServiceId, AccountTransport> =
        embedded.documents.iter().map(in_process).collect();
    let (egress, timeout) = (egress.clone(), options.request_timeout().map(RequestTimeout));
    Arc::new(move |connection: &CosmosConnectionString| {
        let embedded = local_services.named_by(&connection.account_endpoint, "documents");
        if let Some(transport) = embedded.and_then(|id| transports.get(id)) {
            return Ok(transport.clone());
        }
        let key = MasterKey::parse(connection.account_key.expose())?;
        let client = egress.clone().map_request(move |mut request: Request<Body>| {
            if let Some(timeout) = timeout {
                request.extensions_mut().insert(timeout);
            }
            request
        });
        Ok(AccountTransport::signed(client, key))
    })
}

/// A document service of this process, which reports changes without polling.
fn in_process(service: documents::Service, handle: &documents::Handle) -> AccountTransport {
    let hints = handle.hints();
    let hints: ChangeHints = Arc::new(move |database: &str, container: &str| {
        Some(hints.subscribe(&format!("dbs/{database}/colls/{container}")))
    });
    let origins: ChangeOrigins = Arc::new(|extensions| {
        extensions.get::<documents::FeedOrigins>().map(|origins| origins.0.clone()).unwrap_or_default()
    });
    let transport = AccountTransport::in_process(service, Principal::InProcess { name: "functions" });
    transport.with_hints(hints).with_origins(origins)
}
