//! Connection strings as SDKs and app settings write them: `Key=Value` pairs with semicolons between. Keys are case-insensitive,
//! values may hold `=`, unknown keys are ignored as the SDKs do. No error ever shows a value.

use crate::AccessKey;

/// Where a SignalR service is, and how to prove ourselves to it.
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

/// How the owner of a SignalR connection string proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalRAuth {
    /// Tokens are signed with this key.
    AccessKey(AccessKey),
    /// The owner logs in, and gets a dynamic key for its tokens (`/api/v1/auth/accessKey`).
    Login(Login),
}

/// How the owner of a connection string logs in at Entra ID: the forms of `AuthType`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// `azure`: by whatever the environment offers.
    Environment,
    /// `azure.msi`, or `aad` without a tenant: as a managed identity.
    ManagedIdentity {
        /// `ClientId`: which one, where the machine has several.
        client_id: Option<String>,
    },
    /// `azure.app`, or `aad` with a tenant: as an application.
    Application {
        /// `ClientId`.
        client_id: String,
        /// `TenantId`.
        tenant_id: String,
        /// Its proof.
        proof: ApplicationProof,
    },
}

/// How an application proves itself when it logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplicationProof {
    /// `ClientSecret`.
    Secret(AccessKey),
    /// `ClientCert`, also written `ClientCertPath`: the path of a certificate file.
    CertificateFile(String),
}

/// Where a Cosmos DB account is, and its key.
#[derive(Debug, Clone)]
pub struct CosmosConnectionString {
    /// `https://host:port`, without a slash at the end.
    pub account_endpoint: String,
    /// The account's master key.
    pub account_key: AccessKey,
    /// Whether the server's certificate is to be accepted unseen.
    pub disable_server_certificate_validation: bool,
}

/// Why a text is no connection string. Never shows a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseConnectionStringError {
    /// A part between two semicolons has no `=`.
    #[error("part {0} of the connection string has no '='; it is made of Key=Value pairs with ';' between")]
    Pair(usize),
    /// A key stands there twice.
    #[error("the connection string has '{0}' twice")]
    Duplicate(String),
    /// A required key is missing.
    #[error("the connection string lacks '{0}='")]
    Missing(&'static str),
    /// `AuthType` has a value that is none.
    #[error("AuthType '{0}' in the connection string is none of azure, azure.msi, azure.app and aad")]
    AuthType(String),
    /// An application without its proof.
    #[error(
        "the connection string lacks 'ClientSecret=' or 'ClientCert=', which AuthType '{0}' needs with a TenantId"
    )]
    Proof(&'static str),
    /// It is a reference that App Service and Functions resolve before an app sees it.
    #[error(
        "the connection string is a Key Vault reference, which only Azure resolves; put the secret's value in its place"
    )]
    KeyVaultReference,
    /// A value cannot be used.
    #[error("'{part}' in the connection string is not {expected}")]
    Invalid {
        /// The key.
        part: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

/// The owner of a connection string logs in instead of holding a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the connection string logs in with AuthType '{0}', which works for the service in this process only; \
     for a service elsewhere use a connection string with an AccessKey"
)]
pub struct NeedsLogin(pub &'static str);

impl SignalRConnectionString {
    /// Reads `Endpoint=...;AccessKey=...;Version=1.0;` and its relatives, among them those that log in:
    /// `Endpoint=...;AuthType=azure.msi;Version=1.0;`.
    ///
    /// # Errors
    ///
    /// Names the part that is missing or wrong, and never shows a value of a secret.
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

    /// The key, or why there is none.
    pub fn access_key(&self) -> Result<&AccessKey, NeedsLogin> {
        match &self.auth {
            SignalRAuth::AccessKey(key) => Ok(key),
            SignalRAuth::Login(login) => Err(NeedsLogin(login.auth_type())),
        }
    }

    /// Where REST requests and app servers go, without a slash at the end.
    pub fn server_url(&self) -> String {
        self.server_endpoint.clone().unwrap_or_else(|| self.with_port())
    }

    /// Where clients go, without a slash at the end.
    pub fn client_url(&self) -> String {
        self.client_endpoint.clone().unwrap_or_else(|| self.with_port())
    }

    /// What the audiences of tokens begin with: always the endpoint itself, as the SDK does, neither the custom endpoints nor
    /// the port.
    pub fn audience_base(&self) -> &str {
        &self.endpoint
    }

    fn with_port(&self) -> String {
        let Some(port) = self.port else { return self.endpoint.clone() };
        let (scheme, authority) = self.endpoint.split_once("://").expect("parse has checked the scheme");
        format!("{scheme}://{}:{port}", host(authority))
    }
}

impl Login {
    /// The `AuthType` that says it.
    pub fn auth_type(&self) -> &'static str {
        match self {
            Self::Environment => "azure",
            Self::ManagedIdentity { .. } => "azure.msi",
            Self::Application { .. } => "azure.app",
        }
    }
}

/// The credential of a SignalR connection string. A key counts before a login, as in the newer SDKs; `aad` is the older name of both
/// `azure.msi` and `azure.app`, told apart by the tenant.
fn auth(pairs: &Pairs<'_>) -> Result<SignalRAuth, ParseConnectionStringError> {
    let owned = |name| pairs.get(name).map(str::to_owned);
    let login = match pairs.get("AuthType").map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("azure") => Some(Login::Environment),
        Some("azure.msi") => Some(Login::ManagedIdentity { client_id: owned("ClientId") }),
        Some("azure.app") => Some(application(pairs, "azure.app")?),
        Some("aad") if pairs.get("ClientId").is_some() && pairs.get("TenantId").is_some() => {
            Some(application(pairs, "aad")?)
        }
        Some("aad") => Some(Login::ManagedIdentity { client_id: owned("ClientId") }),
        Some(_) if pairs.get("AccessKey").is_some() => None,
        Some(other) => {
            return Err(ParseConnectionStringError::AuthType(other.chars().take(32).collect()));
        }
    };
    match login {
        Some(login) if pairs.get("AccessKey").is_none() => Ok(SignalRAuth::Login(login)),
        _ => Ok(SignalRAuth::AccessKey(pairs.key("AccessKey")?)),
    }
}

fn application(pairs: &Pairs<'_>, auth_type: &'static str) -> Result<Login, ParseConnectionStringError> {
    let (client_id, tenant_id) = (pairs.required("ClientId")?, pairs.required("TenantId")?);
    let proof = match (pairs.get("ClientSecret"), pairs.get("ClientCert").or(pairs.get("ClientCertPath"))) {
        (Some(_), _) => ApplicationProof::Secret(pairs.key("ClientSecret")?),
        (None, Some(path)) => ApplicationProof::CertificateFile(path.to_owned()),
        (None, None) => return Err(ParseConnectionStringError::Proof(auth_type)),
    };
    Ok(Login::Application { client_id: client_id.to_owned(), tenant_id: tenant_id.to_owned(), proof })
}

impl CosmosConnectionString {
    /// Reads `AccountEndpoint=...;AccountKey=...;`.
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

/// Checks that `value` is an http or https address and cuts slashes off its end.
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
        // The last colon of a bare IPv6 address stands inside its brackets.
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn is_version_1(version: &str) -> bool {
    version.strip_prefix("1.").is_some_and(|minor| minor.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
