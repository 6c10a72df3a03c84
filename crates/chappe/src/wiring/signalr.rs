//! `signalRConnectionInfo` and `signalR` for functions: served by the embedded realtime service where the connection string
//! names this process, by the REST data plane of another one otherwise.

pub(super) mod item;

use std::sync::Arc;
use std::time::Duration;

use functions_contract::{
    AppSettings, BindingContext, BindingError, BindingSpec, ConnectionSetting, Connector, Direction, Reader,
    Sink, Value, find_property,
};
use identity::{Claims, SignalRConnectionString};
use realtime::engine::{ConnectionId, GroupError, GroupName, Lifetime, Membership, Target, UserId};
use serde_json::{Map, Value as Json};

use crate::telemetry::with_causes;

use super::resolver::{Embedded, Here};
use super::signalr_remote::Remote;
use item::{Action, Change, Item, Receiver};

/// The setting that holds the connection string unless the binding names another one.
const DEFAULT_SETTING: &str = "AzureSignalRConnectionString";
/// How long tokens live that are handed to clients: an hour, as the extension does.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// The connector for both binding types.
pub(crate) struct SignalR {
    pub(crate) here: Arc<Here>,
    pub(crate) realtime: realtime::Handle,
    pub(crate) egress: egress::Client,
}

/// Which service a binding talks to.
#[derive(Clone)]
enum Service {
    Embedded { realtime: realtime::Handle, here: Arc<Here>, client_url: String },
    Remote(Arc<Remote>),
}

impl SignalR {
    fn service(&self, spec: &BindingSpec, app: &dyn AppSettings) -> Result<Service, BindingError> {
        let setting = setting_of(spec);
        let text = app.connection(setting).or_else(|| by_identity(setting, app)).ok_or_else(|| {
            BindingError::Declaration(format!(
                "the setting {setting:?} is missing: it holds the SignalR connection string. Put it into local.settings.json \
                 under Values; to use the service in this process: {}",
                connection_example()
            ))
        })?;
        let wrong = |why: String| BindingError::Declaration(format!("the setting {setting:?}: {why}"));
        let connection = SignalRConnectionString::parse(&text).map_err(|error| wrong(error.to_string()))?;
        if self.here.is(&connection.server_url(), Embedded::Realtime) {
            let client_url = connection.client_url();
            return Ok(Service::Embedded {
                realtime: self.realtime.clone(),
                here: self.here.clone(),
                client_url,
            });
        }
        let key = connection.access_key().map_err(|error| wrong(error.to_string()))?.clone();
        Ok(Service::Remote(Arc::new(Remote::new(connection, key, self.egress.clone()))))
    }
}

/// The setting that holds a binding's connection string.
fn setting_of(spec: &BindingSpec) -> &str {
    spec.text("connectionStringSetting").or_else(|| spec.text("connection")).unwrap_or(DEFAULT_SETTING)
}

/// The emulator's connection string with its public key: the embedded service on a developer's machine.
fn connection_example() -> String {
    format!(
        "Endpoint=http://localhost;Port=8888;AccessKey={};Version=1.0;",
        identity::DEVELOPMENT_SIGNALR_KEY
    )
}

/// The connection string that the settings of an identity-based connection stand for: `<setting>__serviceUri` and its siblings, as the
/// extension of the public Functions reads them.
fn by_identity(setting: &str, app: &dyn AppSettings) -> Option<String> {
    let part = |name: &str| {
        let names = [format!("{setting}__{name}"), format!("{setting}:{name}")];
        names.iter().find_map(|name| app.setting(name)).filter(|text| !text.is_empty())
    };
    let endpoint = part("serviceUri")?;
    let login = match (part("clientId"), part("tenantId"), part("clientSecret")) {
        (Some(client), Some(tenant), Some(secret)) => {
            format!("AuthType=azure.app;ClientId={client};TenantId={tenant};ClientSecret={secret};")
        }
        (Some(client), ..) => format!("AuthType=azure.msi;ClientId={client};"),
        (None, ..) if part("credential").is_some_and(|kind| kind.eq_ignore_ascii_case("managedidentity")) => {
            "AuthType=azure.msi;".to_owned()
        }
        (None, ..) => "AuthType=azure;".to_owned(),
    };
    Some(format!("Endpoint={endpoint};{login}"))
}

#[async_trait::async_trait]
impl Connector for SignalR {
    fn kinds(&self) -> &'static [(&'static str, Direction)] {
        &[("signalRConnectionInfo", Direction::In), ("signalR", Direction::Out)]
    }

    fn connections(&self, spec: &BindingSpec) -> Vec<ConnectionSetting> {
        vec![ConnectionSetting { name: setting_of(spec).to_owned(), example: connection_example() }]
    }

    async fn reader(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Arc<dyn Reader>, BindingError> {
        require_hub(spec)?;
        Ok(Arc::new(ConnectionInfo { service: self.service(spec, app)? }))
    }

    async fn sink(&self, spec: &BindingSpec, app: &dyn AppSettings) -> Result<Arc<dyn Sink>, BindingError> {
        require_hub(spec)?;
        Ok(Arc::new(Messages { service: self.service(spec, app)? }))
    }
}

fn require_hub(spec: &BindingSpec) -> Result<(), BindingError> {
    match spec.text("hubName") {
        Some(_) => Ok(()),
        None => Err(BindingError::Declaration(format!("the binding {:?} needs a hubName", spec.name))),
    }
}

fn property<'a>(properties: &'a Map<String, Json>, name: &str) -> Option<&'a str> {
    find_property(properties, name).and_then(Json::as_str).filter(|text| !text.is_empty())
}

fn hub<'a>(context: &'a BindingContext<'_>) -> Result<&'a str, BindingError> {
    property(context.properties, "hubName").ok_or_else(|| BindingError::Value("hubName is empty".to_owned()))
}

struct ConnectionInfo {
    service: Service,
}

#[async_trait::async_trait]
impl Reader for ConnectionInfo {
    /// What clients negotiate with: `{"url", "accessToken"}`.
    async fn read(&self, context: &BindingContext<'_>) -> Result<Value, BindingError> {
        let hub = hub(context)?;
        let user = property(context.properties, "userId");
        let claims = token_claims(context.properties)?;
        let (url, token) = match &self.service {
            Service::Embedded { realtime, here, client_url } => {
                let base = here.client_base(context.origin, client_url);
                let access = realtime
                    .client_access(hub, user, &claims, TOKEN_LIFETIME, &base)
                    .map_err(|error| BindingError::Value(error.to_string()))?;
                (access.url, access.access_token)
            }
            Service::Remote(remote) => remote.client_access(hub, user, &claims, TOKEN_LIFETIME),
        };
        let info = serde_json::json!({ "url": url, "accessToken": token });
        Ok(Value::Json(info.to_string()))
    }
}

/// The claims of `idToken` that `claimTypeList` names. The token is the app's own input and was verified by whoever issued it to
/// the app; nothing but the named claims is taken from it, and none that would change what our token opens.
fn token_claims(properties: &Map<String, Json>) -> Result<Claims, BindingError> {
    let mut claims = Claims::new();
    let Some(token) = property(properties, "idToken") else { return Ok(claims) };
    let named: Vec<&str> = match find_property(properties, "claimTypeList") {
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => return Ok(claims),
    };
    let unreadable = || BindingError::Value("idToken is not a JSON web token".to_owned());
    let payload = token.split('.').nth(1).ok_or_else(unreadable)?;
    let payload = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload);
    let payload: Map<String, Json> =
        serde_json::from_slice(&payload.map_err(|_| unreadable())?).map_err(|_| unreadable())?;
    for name in named {
        let values = match payload.get(name) {
            Some(Json::Array(values)) => values.clone(),
            Some(value) => vec![value.clone()],
            None => continue,
        };
        for value in values {
            claims.push_user(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    Ok(claims)
}

struct Messages {
    service: Service,
}

#[async_trait::async_trait]
impl Sink for Messages {
    async fn write(&self, context: &BindingContext<'_>, items: Vec<Value>) -> Result<(), BindingError> {
        let hub = hub(context)?;
        // All of them are read before the first is sent: half of a wrong output is worse than none.
        let items = items.iter().map(Item::parse).collect::<Result<Vec<_>, _>>()?;
        for item in items {
            match &self.service {
                Service::Embedded { realtime, .. } => write_embedded(realtime, hub, context, item).await?,
                Service::Remote(remote) => remote.write(hub, item, context.trace).await?,
            }
        }
        Ok(())
    }
}

async fn write_embedded(
    realtime: &realtime::Handle,
    hub: &str,
    context: &BindingContext<'_>,
    item: Item,
) -> Result<(), BindingError> {
    match item {
        Item::Message { receiver, target, arguments } => {
            let Some(to) = target_of(&receiver) else { return Ok(()) };
            let message = realtime::Message {
                hub,
                to,
                excluded: Vec::new(),
                target: &target,
                arguments: arguments.get(),
                trace: Some(context.trace),
            };
            realtime.send(message).await.map_err(refused)
        }
        Item::Group(change) => change_group(realtime, hub, &change).await,
    }
}

/// Whom the engine is to reach; `None` where the id of a connection is none of ours: nobody has it, so nobody gets the
/// message, which is what a send to an absent connection means for the real service as well.
fn target_of(receiver: &Receiver) -> Option<Target> {
    Some(match receiver {
        Receiver::All => Target::All,
        Receiver::Connection(id) => Target::Connection(ConnectionId::parse(id).ok()?),
        Receiver::User(id) => Target::User(UserId::new(id)),
        Receiver::Group(name) => Target::Group(GroupName::new(name)),
    })
}

async fn change_group(realtime: &realtime::Handle, hub: &str, change: &Change) -> Result<(), BindingError> {
    let hub = realtime.hub(hub).map_err(|error| BindingError::Value(error.to_string()))?;
    let engine = realtime.engine();
    let group = change.group.as_deref().map(GroupName::new);
    let membership = if change.action == Action::Add { Membership::Join } else { Membership::Leave };
    let removes_all = change.action == Action::RemoveAll;
    let user = change.user.as_deref().map(UserId::new);
    let connection = change.connection.as_deref().map(ConnectionId::parse);
    let kept = |error: realtime::MembershipError| unavailable(Box::new(error));
    let stopped = |error: realtime::engine::Stopped| unavailable(Box::new(error));
    // A connection that is gone, or never was one of ours, has no groups to change.
    match (connection, user, group) {
        (Some(Err(_)), _, _) => Ok(()),
        (Some(Ok(connection)), _, _) if removes_all => {
            engine.leave_all_groups(&hub, connection).await.map(drop).map_err(stopped)
        }
        (None, Some(user), _) if removes_all => {
            realtime.user_leaves_all_groups(&hub, &user).await.map_err(kept)
        }
        (Some(Ok(connection)), _, Some(group)) => {
            engine.change_connection(&hub, connection, &group, membership).await.map(drop).map_err(|error| {
                match error {
                    GroupError::Stopped => unavailable(Box::new(error)),
                    GroupError::TooMany => BindingError::Value(error.to_string()),
                }
            })
        }
        (None, Some(user), Some(group)) if change.action == Action::Add => {
            realtime.user_joins_group(&hub, &user, &group, Lifetime::Always).await.map_err(kept)
        }
        (None, Some(user), Some(group)) => {
            realtime.user_leaves_group(&hub, &user, &group).await.map_err(kept)
        }
        (None, None, _) => Err(BindingError::Value(item::NO_MEMBER.to_owned())),
        (_, _, None) => Err(BindingError::Value(item::NO_GROUP.to_owned())),
    }
}

fn refused(error: realtime::SendError) -> BindingError {
    match error {
        realtime::SendError::Publish(_) => unavailable(Box::new(error)),
        error => BindingError::Value(with_causes(&error)),
    }
}

fn unavailable(cause: Box<dyn std::error::Error + Send + Sync>) -> BindingError {
    BindingError::System {
        what: "send to the realtime service".to_owned(),
        retryable: true,
        cause: Some(cause),
    }
}

#[cfg(test)]
mod tests;
