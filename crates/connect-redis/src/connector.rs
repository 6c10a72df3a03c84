//! [`Redis`]: creates the triggers and bindings of this crate.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use functions_contract::{
    AppSettings, BindingError, BindingSpec, ConnectionSetting, Connector, Direction, Reader, Sink, Source,
};

use http_messages::error_chain;

use crate::binding::{CommandReader, CommandSink};
use crate::client::RedisClient;
use crate::connection_string::ConnectionString;
use crate::options::Options;
use crate::owner::Owners;
use crate::source::{ChannelOptions, ChannelSource, ListStore, PollingSource, StreamStore};
use crate::trigger_options::{PollingOptions, boolean, invalid_property, list_direction, required};

/// A server on a developer's machine.
const CONNECTION_EXAMPLE: &str = "localhost:6379";

/// The connector for the Redis triggers and bindings.
pub struct Redis {
    options: Options,
    owners: Owners,
    /// One client for each connection string; all triggers and bindings share it.
    clients: Mutex<HashMap<String, Arc<RedisClient>>>,
}

impl Redis {
    /// A connector; servers are connected to at first use.
    pub fn new(options: Options) -> Self {
        let owners = Owners::new(options.instance.clone());
        Self { options, owners, clients: Mutex::default() }
    }

    fn client(&self, spec: &BindingSpec, app: &dyn AppSettings) -> Result<Arc<RedisClient>, BindingError> {
        let setting = required(spec, "connection")?;
        let Some(text) = app.connection(setting).filter(|value| !value.trim().is_empty()) else {
            let identity_form = format!("{setting}__redisHostName");
            let why = match app.setting(&identity_form) {
                Some(_) => format!(
                    "names {identity_form}: connections with Microsoft Entra ID are not supported yet; set {setting} to a connection string"
                ),
                None => format!(
                    "names the setting '{setting}', which does not exist; set it to host:port,password=…,ssl=True"
                ),
            };
            return Err(invalid_property(spec, "connection", &why));
        };
        let invalid = |why: String| {
            invalid_property(spec, "connection", &format!("names the setting '{setting}': {why}"))
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&text) {
            return Ok(Arc::clone(client));
        }
        let connection = ConnectionString::parse(&text).map_err(|error| invalid(error.to_string()))?;
        let client = RedisClient::new(&connection, setting, &self.options)
            .map_err(|error| invalid(error_chain(&error)))?;
        let client = Arc::new(client);
        // When an app is reloaded with other settings, clients that it no longer uses remain.
        clients.retain(|_, client| Arc::strong_count(client) > 1);
        clients.insert(text, Arc::clone(&client));
        Ok(client)
    }
}

#[async_trait::async_trait]
impl Connector for Redis {
    fn kinds(&self) -> &'static [(&'static str, Direction)] {
        &[
            ("redisPubSubTrigger", Direction::In),
            ("redisListTrigger", Direction::In),
            ("redisStreamTrigger", Direction::In),
            ("redis", Direction::In),
            ("redis", Direction::Out),
        ]
    }

    fn connections(&self, spec: &BindingSpec) -> Vec<ConnectionSetting> {
        let setting = |name: &str| ConnectionSetting {
            name: name.to_owned(),
            example: CONNECTION_EXAMPLE.to_owned(),
            alternative: None,
        };
        spec.text("connection").map(setting).into_iter().collect()
    }

    async fn source(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Box<dyn Source>, BindingError> {
        let client = self.client(spec, app)?;
        if spec.kind.eq_ignore_ascii_case("redisPubSubTrigger") {
            let options = ChannelOptions {
                function: spec.function.clone(),
                channel: required(spec, "channel")?.to_owned(),
                is_pattern: boolean(spec, "pattern")?,
                queued_max: self.options.channel_messages_queued_max.get(),
            };
            return Ok(Box::new(ChannelSource::new(options, client)));
        }
        let options = PollingOptions::parse(spec, &self.options)?;
        let owners = self.owners.clone();
        if spec.kind.eq_ignore_ascii_case("redisListTrigger") {
            let store = ListStore::new(options.clone(), list_direction(spec)?, client, owners);
            return Ok(Box::new(PollingSource::new(options, store)));
        }
        let store = StreamStore::new(options.clone(), client, owners);
        Ok(Box::new(PollingSource::new(options, store)))
    }

    async fn reader(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Arc<dyn Reader>, BindingError> {
        Ok(Arc::new(CommandReader::new(spec, self.client(spec, app)?)?))
    }

    async fn sink(&self, spec: &BindingSpec, app: &dyn AppSettings) -> Result<Arc<dyn Sink>, BindingError> {
        Ok(Arc::new(CommandSink::new(spec, self.client(spec, app)?)?))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("options", &self.options).finish_non_exhaustive()
    }
}
