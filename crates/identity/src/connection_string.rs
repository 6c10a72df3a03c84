//! Connection strings of SDKs and app settings: `Key=Value` pairs separated by semicolons. Keys are case-insensitive, values may
//! contain `=`, unknown keys are ignored as in the SDKs. Errors never contain a secret.

use crate::access_key::AccessKey;

/// The address of a SignalR service and the credential for it.
#[derive(Debug, Clone)]
pub struct SignalRConnectionString {
    /// Scheme and host, without a slash at the end and without [`Self::port`].
    pub endpoint: String,
    /// A port that replaces the endpoint's own.
    pub port: Option<u16>,
    /// The credential.
    pub auth: SignalRAuth,
    /// Another address for clients, if any.
    pub client_endpoint: Option<String>,
    /// Another address for app servers and REST, if any.
    pub server_endpoint: Option<String>,
}

/// The credential in a SignalR connection string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalRAuth {
    /// Tokens are signed with this key.
    AccessKey(AccessKey),
    /// Microsoft Entra ID; the caller gets a dynamic key for its tokens (`/api/v1/auth/accessKey`).
    Entra(EntraCredential),
}

/// A credential for Microsoft Entra ID, by `AuthType`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntraCredential {
    /// `azure`: the default credential of the environment.
    Environment,
    /// `azure.msi`, or `aad` without a tenant: a managed identity.
    ManagedIdentity {
        /// `ClientId`: which one, if there are several.
        client_id: Option<String>,
    },
    /// `azure.app`, or `aad` with a tenant: an application.
    Application {
        /// `ClientId`.
        client_id: String,
        /// `TenantId`.
        tenant_id: String,
        /// Its credential.
        credential: ApplicationCredential,
    },
}

/// The credential of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplicationCredential {
    /// `ClientSecret`.
    Secret(AccessKey),
    /// `ClientCert`, also written `ClientCertPath`: the path of a certificate file.
    CertificateFile(String),
}

/// The address of a Cosmos DB account and its key.
#[derive(Debug, Clone)]
pub struct CosmosConnectionString {
    /// `https://host:port`, without a slash at the end.
    pub account_endpoint: String,
    /// The account's master key.
    pub account_key: AccessKey,
    /// Whether the server's certificate is accepted without validation.
    pub disable_server_certificate_validation: bool,
}

/// Why a connection string is invalid. Never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseConnectionStringError {
    /// A part between two semicolons has no `=`.
    #[error("part {0} of the connection string has no '='; it consists of Key=Value pairs separated by ';'")]
    Pair(usize),
    /// A key occurs twice.
    #[error("the connection string contains '{0}' twice")]
    Duplicate(String),
    /// A required key is missing.
    #[error("the connection string has no '{0}='")]
    Missing(&'static str),
    /// The value of `AuthType` is unknown.
    #[error("AuthType '{0}' in the connection string is unknown; use azure, azure.msi, azure.app or aad")]
    AuthType(String),
    /// An application without a credential.
    #[error(
        "the connection string has neither 'ClientSecret=' nor 'ClientCert='; AuthType '{0}' with a TenantId needs one of them"
    )]
    ApplicationCredential(&'static str),
    /// It is a Key Vault reference; App Service and Functions resolve it before an app reads it.
    #[error(
        "the connection string is a Key Vault reference, which only Azure resolves; use the value of the secret instead"
    )]
    KeyVaultReference,
    /// A value cannot be used.
    #[error("'{part}' in the connection string is not {expected}")]
    Invalid {
        /// The key.
        part: &'static str,
        /// The expected form.
        expected: &'static str,
    },
}

/// The connection string has an Entra ID credential and no access key; contains its `AuthType`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the connection string authenticates with Microsoft Entra ID (AuthType '{0}'), which only works for the service in this \
     process; for another service, use a connection string with an AccessKey"
)]
pub struct NoAccessKey(pub &'static str);

impl SignalRConnectionString {
    /// Parses `Endpoint=...;AccessKey=...;Version=1.0;` and its variants, also those with an Entra ID credential:
    /// `Endpoint=...;AuthType=azure.msi;Version=1.0;`.
    ///
    /// # Errors
    ///
    /// If a key is missing or its value is invalid.
    pub fn parse(text: &str) -> Result<Self, ParseConnectionStringError> {
        let pairs = Pairs::parse(text)?;
        let endpoint = origin(pairs.required("Endpoint")?, "Endpoint")?;
        if pairs.get("Version").is_some_and(|version| !is_version_1(version)) {
            return Err(invalid("Version", "of the form 1.<number>"));
        }
        let port = match pairs.get("Port") {
            Some(port) => {
                let port: Option<u16> = port.parse().ok().filter(|port| *port != 0);
                Some(port.ok_or(invalid("Port", "a number from 1 to 65535"))?)
            }
            None => None,
        };
        let auth = auth(&pairs)?;
        let optional = |name| pairs.get(name).map(|value| origin(value, name)).transpose();
        Ok(Self {
            endpoint,
            port,
            auth,
            client_endpoint: optional("ClientEndpoint")?,
            server_endpoint: optional("ServerEndpoint")?,
        })
    }

    /// The access key.
    ///
    /// # Errors
    ///
    /// If the connection string has an Entra ID credential instead.
    pub fn access_key(&self) -> Result<&AccessKey, NoAccessKey> {
        match &self.auth {
            SignalRAuth::AccessKey(key) => Ok(key),
            SignalRAuth::Entra(credential) => Err(NoAccessKey(credential.auth_type())),
        }
    }

    /// The address for REST requests and app servers, without a slash at the end.
    pub fn server_url(&self) -> String {
        self.server_endpoint.clone().unwrap_or_else(|| self.with_port())
    }

    /// The address for clients, without a slash at the end.
    pub fn client_url(&self) -> String {
        self.client_endpoint.clone().unwrap_or_else(|| self.with_port())
    }

    /// The start of the audience of tokens: always the endpoint itself, as in the SDK, without the custom endpoints and the port.
    pub fn audience_base(&self) -> &str {
        &self.endpoint
    }

    fn with_port(&self) -> String {
        let Some(port) = self.port else { return self.endpoint.clone() };
        let (scheme, authority) = self.endpoint.split_once("://").expect("parse has checked the scheme");
        format!("{scheme}://{}:{port}", host(authority))
    }
}

impl EntraCredential {
    /// Its `AuthType`.
    pub fn auth_type(&self) -> &'static str {
        match self {
            Self::Environment => "azure",
            Self::ManagedIdentity { .. } => "azure.msi",
            Self::Application { .. } => "azure.app",
        }
    }
}

/// The credential of a SignalR connection string. An access key has precedence, as in the newer SDKs; `aad` is the older name of
/// `azure.msi` (without a tenant) and `azure.app` (with a tenant).
fn auth(pairs: &Pairs<'_>) -> Result<SignalRAuth, ParseConnectionStringError> {
    let owned = |name| pairs.get(name).map(str::to_owned);
    let entra = match pairs.get("AuthType").map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("azure") => Some(EntraCredential::Environment),
        Some("azure.msi") => Some(EntraCredential::ManagedIdentity { client_id: owned("ClientId") }),
        Some("azure.app") => Some(application(pairs, "azure.app")?),
        Some("aad") if pairs.get("ClientId").is_some() && pairs.get("TenantId").is_some() => {
            Some(application(pairs, "aad")?)
        }
        Some("aad") => Some(EntraCredential::ManagedIdentity { client_id: owned("ClientId") }),
        Some(_) if pairs.get("AccessKey").is_some() => None,
        Some(other) => {
            return Err(ParseConnectionStringError::AuthType(other.chars().take(32).collect()));
        }
    };
    match entra {
        Some(credential) if pairs.get("AccessKey").is_none() => Ok(SignalRAuth::Entra(credential)),
        _ => Ok(SignalRAuth::AccessKey(pairs.key("AccessKey")?)),
    }
}

fn application(
    pairs: &Pairs<'_>,
    auth_type: &'static str,
) -> Result<EntraCredential, ParseConnectionStringError> {
    let (client_id, tenant_id) = (pairs.required("ClientId")?, pairs.required("TenantId")?);
    let credential =
        match (pairs.get("ClientSecret"), pairs.get("ClientCert").or(pairs.get("ClientCertPath"))) {
            (Some(_), _) => ApplicationCredential::Secret(pairs.key("ClientSecret")?),
            (None, Some(path)) => ApplicationCredential::CertificateFile(path.to_owned()),
            (None, None) => return Err(ParseConnectionStringError::ApplicationCredential(auth_type)),
        };
    Ok(EntraCredential::Application {
        client_id: client_id.to_owned(),
        tenant_id: tenant_id.to_owned(),
        credential,
    })
}

impl CosmosConnectionString {
    /// Parses `AccountEndpoint=...;AccountKey=...;`.
    pub fn parse(text: &str) -> Result<Self, ParseConnectionStringError> {
        let pairs = Pairs::parse(text)?;
        let disable = match pairs.get("DisableServerCertificateValidation") {
            None => false,
            Some(value) if value.eq_ignore_ascii_case("true") => true,
            Some(value) if value.eq_ignore_ascii_case("false") => false,
            Some(_) => return Err(invalid("DisableServerCertificateValidation", "True or False")),
        };
        Ok(Self {
            account_endpoint: origin(pairs.required("AccountEndpoint")?, "AccountEndpoint")?,
            account_key: pairs.key("AccountKey")?,
            disable_server_certificate_validation: disable,
        })
    }
}

/// The pairs in their order.
struct Pairs<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Pairs<'a> {
    fn parse(text: &'a str) -> Result<Self, ParseConnectionStringError> {
        if text.trim_start().to_ascii_lowercase().starts_with("@microsoft.keyvault(") {
            return Err(ParseConnectionStringError::KeyVaultReference);
        }
        let mut pairs = Self(Vec::new());
        for (index, part) in text.split(';').enumerate() {
            if part.trim().is_empty() {
                continue;
            }
            let (key, value) = part.split_once('=').ok_or(ParseConnectionStringError::Pair(index + 1))?;
            let (key, value) = (key.trim(), value.trim());
            if pairs.0.iter().any(|(other, _)| other.eq_ignore_ascii_case(key)) {
                return Err(ParseConnectionStringError::Duplicate(key.to_owned()));
            }
            pairs.0.push((key, value));
        }
        Ok(pairs)
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let pair = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        pair.map(|(_, value)| *value).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &'static str) -> Result<&'a str, ParseConnectionStringError> {
        self.get(name).ok_or(ParseConnectionStringError::Missing(name))
    }

    fn key(&self, name: &'static str) -> Result<AccessKey, ParseConnectionStringError> {
        AccessKey::new(self.required(name)?).map_err(|_| ParseConnectionStringError::Missing(name))
    }
}

fn invalid(part: &'static str, expected: &'static str) -> ParseConnectionStringError {
    ParseConnectionStringError::Invalid { part, expected }
}

/// Checks that `value` is an http or https address; removes slashes at its end.
fn origin(value: &str, part: &'static str) -> Result<String, ParseConnectionStringError> {
    let value = value.trim_end_matches('/');
    let authority = ["http://", "https://"].iter().find_map(|scheme| {
        let (head, rest) = value.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    match authority {
        Some(authority) if !authority.is_empty() && !authority.starts_with(['/', ':', '?', '#']) => {
            Ok(value.to_owned())
        }
        _ => Err(invalid(part, "an http:// or https:// address")),
    }
}

/// An authority without its port.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // The last colon of an IPv6 address without a port is inside its brackets.
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn is_version_1(version: &str) -> bool {
    version.strip_prefix("1.").is_some_and(|minor| minor.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
