//! The app settings that hold a binding's connection string.

use functions_contract::{AppSettings, BindingError, BindingSpec};

/// The setting that holds the connection string unless the binding names another one.
const DEFAULT_SETTING: &str = "AzureSignalRConnectionString";

/// The setting that holds a binding's connection string.
pub(crate) fn setting_of(spec: &BindingSpec) -> &str {
    spec.text("connectionStringSetting").or_else(|| spec.text("connection")).unwrap_or(DEFAULT_SETTING)
}

/// The emulator's connection string with its public key: the service in this process, on a developer's machine.
pub(crate) fn example() -> String {
    format!(
        "Endpoint=http://localhost;Port=8888;AccessKey={};Version=1.0;",
        identity::DEVELOPMENT_SIGNALR_KEY
    )
}

/// The connection string in a setting, or the one that is equivalent to the settings of an identity-based connection:
/// `<setting>__serviceUri` and its siblings.
pub(crate) fn find(setting: &str, app: &dyn AppSettings) -> Option<String> {
    let part = |name: &str| {
        let names = [format!("{setting}__{name}"), format!("{setting}:{name}")];
        names.iter().find_map(|name| app.setting(name)).filter(|text| !text.is_empty())
    };
    app.connection(setting).or_else(|| part("serviceUri").map(|uri| by_identity(&uri, part)))
}

/// The error for a setting that does not exist.
pub(crate) fn missing(setting: &str) -> BindingError {
    BindingError::Declaration(format!(
        "the setting {setting:?} is missing: it has the SignalR connection string. Put it into local.settings.json \
         under Values; to use the service in this process: {}",
        example()
    ))
}

/// The error for a setting whose value cannot be used.
pub(crate) fn invalid(setting: &str, why: &str) -> BindingError {
    BindingError::Declaration(format!("the setting {setting:?}: {why}"))
}

/// The connection string that is equivalent to the parts of an identity-based connection, as the Azure Functions extension reads them.
pub(crate) fn by_identity(endpoint: &str, part: impl Fn(&str) -> Option<String>) -> String {
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
    format!("Endpoint={endpoint};{login}")
}
