//! `cosmosDBTrigger` and `cosmosDB` for functions: over the embedded document service, called in process, where the connection
//! string names this process; over the network otherwise.

use std::sync::Arc;

use connect_cosmosdb::{CosmosDb, Hints, Origins, Resolver, Transport};
use http_messages::Budget;
use identity::master_key::MasterKey;
use identity::{CosmosConnectionString, Principal};

use super::resolver::{Embedded, Here};

/// The connector, with the resolver that decides between the two.
pub(crate) fn cosmos_connector(
    here: Arc<Here>,
    documents: documents::Service,
    handle: &documents::Handle,
    egress: egress::Client,
    bodies: &Budget,
    host: &str,
) -> CosmosDb {
    let hints = handle.hints();
    let hints: Hints = Arc::new(move |database: &str, container: &str| {
        Some(hints.subscribe(&format!("dbs/{database}/colls/{container}")))
    });
    let origins: Origins = Arc::new(|extensions| {
        extensions.get::<documents::FeedOrigins>().map(|origins| origins.0.clone()).unwrap_or_default()
    });
    let resolver: Resolver = Arc::new(move |connection: &CosmosConnectionString| {
        if here.is(&connection.account_endpoint, Embedded::Documents) {
            let transport =
                Transport::in_process(documents.clone(), Principal::InProcess { name: "functions" });
            return Ok(transport.with_hints(Arc::clone(&hints)).with_origins(Arc::clone(&origins)));
        }
        let key = MasterKey::parse(connection.account_key.expose())?;
        Ok(Transport::signed(egress.clone(), key))
    });
    let options =
        connect_cosmosdb::Options { instance: host.to_owned(), ..connect_cosmosdb::Options::default() };
    CosmosDb::new(resolver, options, bodies.clone())
}
