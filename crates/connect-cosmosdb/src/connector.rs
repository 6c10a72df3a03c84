//! [`CosmosDb`]: creates the triggers and bindings of this crate.

use std::fmt;
use std::sync::Arc;

use functions_contract::{
    AppSettings, BindingError, BindingSpec, ConnectionSetting, Connector, Direction, Reader, Sink, Source,
};
use http_messages::Budget;
use identity::CosmosConnectionString;
use tokio::sync::Semaphore;

use crate::binding::{DocumentReader, DocumentSink};
use crate::client::AccountClient;
use crate::deferred::DeferredReader;
use crate::live_sources::LiveSources;
use crate::options::Options;
use crate::shared::Shared;
use crate::source::FeedSource;
use crate::transport::AccountResolver;
use crate::trigger_options::{TriggerOptions, invalid_property, text};
use crate::trigger_registry::TriggerRegistry;

/// The properties of a binding that name its connection: the current name, and the one before version 4 of the extension.
const CONNECTION: [&str; 2] = ["connection", "connectionStringSetting"];
/// The same for the leases of a trigger.
const LEASE_CONNECTION: [&str; 2] = ["leaseConnection", "leaseConnectionStringSetting"];
/// The emulator's address and public key, as Microsoft documents them: the document service in this process, on a developer's machine.
const CONNECTION_EXAMPLE: &str = "AccountEndpoint=http://localhost:8081/;\
    AccountKey=C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==;";
/// The setting that holds the connection string if a binding does not name one.
const CONNECTION_DEFAULT: &str = "CosmosDB";

/// The connector for `cosmosDBTrigger` and `cosmosDB`.
pub struct CosmosDb {
    resolver: AccountResolver,
    shared: Arc<Shared>,
}

impl CosmosDb {
    /// A connector that reaches accounts through the transport that `resolver` chooses. `bodies` bounds the bytes of their responses.
    pub fn new(resolver: AccountResolver, options: Options, bodies: Budget) -> Self {
        let permits =
            options.requests_max.map(|max| Arc::new(Semaphore::new(max.get().min(Semaphore::MAX_PERMITS))));
        let shared = Shared {
            options,
            permits,
            bodies,
            process: uuid::Uuid::new_v4().simple().to_string(),
            live_sources: LiveSources::default(),
            triggers: TriggerRegistry::default(),
        };
        Self { resolver, shared: Arc::new(shared) }
    }

    fn client(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
        properties: &[&str],
    ) -> Result<AccountClient, BindingError> {
        let setting = text(spec, properties).unwrap_or(CONNECTION_DEFAULT);
        let Some(value) = app.connection(setting).filter(|value| !value.trim().is_empty()) else {
            let identity_form = format!("{setting}__accountEndpoint");
            let why = if app.setting(&identity_form).is_some() {
                format!(
                    "names {identity_form}: identity-based connections are not supported yet; set {setting} to a \
                         connection string with an account key"
                )
            } else {
                format!(
                    "names the setting '{setting}', which does not exist; set it to \
                         AccountEndpoint=…;AccountKey=…;"
                )
            };
            return Err(invalid_property(spec, properties[0], &why));
        };
        let connection = CosmosConnectionString::parse(&value).map_err(|error| {
            invalid_property(spec, properties[0], &format!("names the setting '{setting}': {error}"))
        })?;
        let transport = (self.resolver)(&connection).map_err(|error| {
            invalid_property(spec, properties[0], &format!("names the setting '{setting}': {error}"))
        })?;
        let endpoint = connection.account_endpoint.parse().map_err(|error| {
            invalid_property(
                spec,
                properties[0],
                &format!(
                    "names the setting '{setting}': its AccountEndpoint is not a valid address: {error}"
                ),
            )
        })?;
        Ok(AccountClient::new(transport, &endpoint, &self.shared))
    }
}

#[async_trait::async_trait]
impl Connector for CosmosDb {
    fn kinds(&self) -> &'static [(&'static str, Direction)] {
        &[("cosmosDBTrigger", Direction::In), ("cosmosDB", Direction::In), ("cosmosDB", Direction::Out)]
    }

    fn connections(&self, spec: &BindingSpec) -> Vec<ConnectionSetting> {
        let setting = |name: &str| ConnectionSetting {
            name: name.to_owned(),
            example: CONNECTION_EXAMPLE.to_owned(),
            alternative: None,
        };
        let mut settings = vec![setting(text(spec, &CONNECTION).unwrap_or(CONNECTION_DEFAULT))];
        if spec.is_trigger() {
            settings.extend(text(spec, &LEASE_CONNECTION).map(setting));
        }
        settings
    }

    async fn source(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Box<dyn Source>, BindingError> {
        let trigger = TriggerOptions::parse(spec, &self.shared.options)?;
        let monitored = self.client(spec, app, &CONNECTION)?;
        let leases = match text(spec, &LEASE_CONNECTION) {
            Some(_) => self.client(spec, app, &LEASE_CONNECTION)?,
            None => monitored.clone(),
        };
        if trigger.monitored == trigger.leases && monitored.same_account(&leases) {
            let why = "is the monitored container itself, so that every checkpoint would be a change; name another container";
            return Err(invalid_property(spec, "leaseContainerName", why));
        }
        Ok(Box::new(FeedSource::new(trigger, monitored, leases, Arc::clone(&self.shared))))
    }

    async fn reader(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Arc<dyn Reader>, BindingError> {
        if spec.is_deferred() {
            return Ok(Arc::new(DeferredReader::new(spec)?));
        }
        let client = self.client(spec, app, &CONNECTION)?;
        Ok(Arc::new(DocumentReader::new(spec, client, self.shared.options.query_rows_max.get())?))
    }

    async fn sink(&self, spec: &BindingSpec, app: &dyn AppSettings) -> Result<Arc<dyn Sink>, BindingError> {
        let client = self.client(spec, app, &CONNECTION)?;
        Ok(Arc::new(DocumentSink::new(spec, client)?))
    }
}

impl fmt::Debug for CosmosDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CosmosDb").field("options", &self.shared.options).finish_non_exhaustive()
    }
}
