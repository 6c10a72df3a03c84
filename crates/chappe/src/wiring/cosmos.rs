//! `cosmosDBTrigger` and `cosmosDB` for functions: over the embedded document service, called in process, where the connection
//! string names this process; over the network otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use connect_cosmosdb::{AccountResolver, AccountTransport, ChangeHints, ChangeOrigins, CosmosDb};
use http_messages::Budget;
use identity::master_key::MasterKey;
use identity::{CosmosConnectionString, Principal};

use super::resolver::Here;
use crate::config::ServiceId;

/// The connector, with the resolver that decides between the two.
pub(crate) fn cosmos_connector(
    here: Arc<Here>,
    documents: &BTreeMap<ServiceId, (documents::Service, documents::Handle)>,
    egress: egress::Client,
    bodies: &Budget,
    host: &str,
) -> CosmosDb {
    let transports: BTreeMap<ServiceId, AccountTransport> = documents
        .iter()
        .map(|(id, (service, handle))| (id.clone(), in_process(service.clone(), handle)))
        .collect();
    let resolver: AccountResolver = Arc::new(move |connection: &CosmosConnectionString| {
        let embedded = here.named_by(&connection.account_endpoint, "documents");
        if let Some(transport) = embedded.and_then(|id| transports.get(id)) {
            return Ok(transport.clone());
        }
        let key = MasterKey::parse(connection.account_key.expose())?;
        Ok(AccountTransport::signed(egress.clone(), key))
    });
    let options =
        connect_cosmosdb::Options { instance: host.to_owned(), ..connect_cosmosdb::Options::default() };
    CosmosDb::new(resolver, options, bodies.clone())
}

/// A document service of this process, which tells of changes by itself.
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
