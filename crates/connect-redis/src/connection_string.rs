//! Connection strings in the format of StackExchange.Redis: `host:port,password=…,ssl=True`. Pure.

use std::time::Duration;

/// A connection string.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ConnectionString {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) tls: bool,
    pub(crate) database: i64,
    pub(crate) client_name: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) response_timeout: Option<Duration>,
}

/// Why a connection string cannot be used. Contains no part of it that may be secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectionStringError {
    #[error("the connection string has no host; it begins with host:port, such as localhost:6379")]
    NoHost,
    #[error(
        "the connection string has several hosts, but Redis Cluster and fail-over between hosts are not supported; name one host"
    )]
    SeveralHosts,
    #[error("the port of '{0}' is not a number from 1 to 65535")]
    Port(String),
    #[error("'{0}' is not a keyword of StackExchange.Redis connection strings; correct or remove it")]
    UnknownKeyword(String),
    #[error("the keyword '{0}' is not supported: {1}; remove it")]
    Unsupported(&'static str, &'static str),
    #[error("the value of '{0}' must be {1}")]
    Value(&'static str, &'static str),
}

/// Hosts of Azure, whose connections use TLS unless the string says otherwise.
const AZURE_SUFFIXES: [&str; 8] = [
    ".redis.cache.windows.net",
    ".redis.cache.chinacloudapi.cn",
    ".redis.cache.usgovcloudapi.net",
    ".redisenterprise.cache.azure.net",
    ".redis.azure.net",
    ".redis.chinacloudapi.cn",
    ".redis.usgovcloudapi.net",
    ".redis.cache.sovcloud-api.fr",
];

/// Keywords that tune the .NET client and have no counterpart here.
const WITHOUT_EFFECT: [&str; 21] = [
    "abortconnect",
    "allowadmin",
    "asyncbuffer",
    "checkcertificaterevocation",
    "configchannel",
    "configcheckseconds",
    "connectretry",
    "heartbeatconsistencychecks",
    "heartbeatinterval",
    "highintegrity",
    "includedetailinexceptions",
    "includeperformancecountersinexceptions",
    "keepalive",
    "preserveasyncorder",
    "protocol",
    "resolvedns",
    "responsetimeout",
    "setlib",
    "tiebreaker",
    "version",
    "writebuffer",
];

impl ConnectionString {
    pub(crate) fn parse(text: &str) -> Result<Self, ConnectionStringError> {
        let mut hosts = Vec::new();
        let mut parsed = Keywords::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                None => hosts.push(part),
                Some((keyword, value)) => parsed.set(keyword.trim(), value.trim())?,
            }
        }
        let [host] = hosts[..] else {
            return Err(match hosts.is_empty() {
                true => ConnectionStringError::NoHost,
                false => ConnectionStringError::SeveralHosts,
            });
        };
        let (host, port) = host_and_port(host)?;
        let is_azure = AZURE_SUFFIXES.iter().any(|suffix| host.to_ascii_lowercase().ends_with(suffix));
        let tls = parsed.tls.unwrap_or(is_azure);
        if parsed.tls_host.is_some_and(|name| tls && !name.eq_ignore_ascii_case(&host)) {
            return Err(ConnectionStringError::Unsupported(
                "sslHost",
                "the certificate must be that of the host that is connected to",
            ));
        }
        Ok(Self {
            port: port.unwrap_or(if tls { 6380 } else { 6379 }),
            host,
            user: parsed.user,
            password: parsed.password,
            tls,
            database: parsed.database,
            client_name: parsed.client_name,
            connect_timeout: parsed.connect_timeout,
            response_timeout: parsed.response_timeout.or(parsed.sync_timeout),
        })
    }

    /// The address, for messages.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl std::fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = (&self.host, self.port, self.tls, self.database);
        f.debug_tuple("ConnectionString").field(&fields).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Keywords {
    user: Option<String>,
    password: Option<String>,
    tls: Option<bool>,
    tls_host: Option<String>,
    database: i64,
    client_name: Option<String>,
    connect_timeout: Option<Duration>,
    response_timeout: Option<Duration>,
    sync_timeout: Option<Duration>,
}

impl Keywords {
    fn set(&mut self, keyword: &str, value: &str) -> Result<(), ConnectionStringError> {
        let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
        match keyword.to_ascii_lowercase().as_str() {
            "user" => self.user = text(),
            "password" => self.password = text(),
            "ssl" => self.tls = Some(boolean("ssl", value)?),
            "sslhost" => self.tls_host = text(),
            "sslprotocols" => {}
            "defaultdatabase" => {
                let number = value.parse().ok().filter(|number| *number >= 0);
                self.database =
                    number.ok_or(ConnectionStringError::Value("defaultDatabase", "a number from 0"))?;
            }
            "name" => self.client_name = text(),
            "connecttimeout" => self.connect_timeout = Some(milliseconds("connectTimeout", value)?),
            "asynctimeout" => self.response_timeout = Some(milliseconds("asyncTimeout", value)?),
            "synctimeout" => self.sync_timeout = Some(milliseconds("syncTimeout", value)?),
            "servicename" => {
                return Err(ConnectionStringError::Unsupported(
                    "serviceName",
                    "Sentinel is not asked for the primary",
                ));
            }
            "channelprefix" if !value.is_empty() => {
                return Err(ConnectionStringError::Unsupported(
                    "channelPrefix",
                    "name the whole channel in the binding",
                ));
            }
            "proxy" if !value.eq_ignore_ascii_case("none") => {
                return Err(ConnectionStringError::Unsupported("proxy", "connect to the server itself"));
            }
            "tunnel" if !value.is_empty() => {
                return Err(ConnectionStringError::Unsupported("tunnel", "connect to the server itself"));
            }
            "channelprefix" | "proxy" | "tunnel" => {}
            // `$get=` renames or disables a command.
            renamed if renamed.starts_with('$') => {
                return Err(ConnectionStringError::Unsupported("$command", "commands have their own names"));
            }
            known if WITHOUT_EFFECT.contains(&known) => {}
            _ => return Err(ConnectionStringError::UnknownKeyword(keyword.to_owned())),
        }
        Ok(())
    }
}

fn host_and_port(text: &str) -> Result<(String, Option<u16>), ConnectionStringError> {
    let number = |port: &str| port.parse().ok().filter(|port| *port > 0);
    let invalid = || ConnectionStringError::Port(text.to_owned());
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(number(port).ok_or_else(invalid)?),
            None => None,
        };
        return Ok((host.to_owned(), port));
    }
    match text.rsplit_once(':') {
        // More colons are an IPv6 address without a port.
        Some((host, port)) if !host.contains(':') => {
            Ok((host.to_owned(), Some(number(port).ok_or_else(invalid)?)))
        }
        _ => Ok((text.to_owned(), None)),
    }
}

fn boolean(keyword: &'static str, value: &str) -> Result<bool, ConnectionStringError> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err(ConnectionStringError::Value(keyword, "True or False")),
    }
}

fn milliseconds(keyword: &'static str, value: &str) -> Result<Duration, ConnectionStringError> {
    let number = value.parse().ok().filter(|number| *number > 0).map(Duration::from_millis);
    number.ok_or(ConnectionStringError::Value(keyword, "a positive number of milliseconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ConnectionString {
        ConnectionString::parse(text).expect("valid")
    }

    #[test]
    fn an_azure_connection_string_sets_password_and_tls() {
        let text = "cache.redis.cache.windows.net:6380,password=a=b==,ssl=True,abortConnect=False";
        let parsed = parse(text);
        assert_eq!((parsed.host.as_str(), parsed.port), ("cache.redis.cache.windows.net", 6380));
        assert_eq!((parsed.password.as_deref(), parsed.tls), (Some("a=b=="), true));
        assert!(!format!("{parsed:?}").contains("a=b"));
    }

    #[test]
    fn host_port_and_tls_have_the_defaults_of_stackexchange_redis() {
        let form = |text: &str| {
            let parsed = parse(text);
            (parsed.host, parsed.port, parsed.tls)
        };
        assert_eq!(form("localhost"), ("localhost".to_owned(), 6379, false));
        assert_eq!(form("localhost,ssl=true"), ("localhost".to_owned(), 6380, true));
        assert_eq!(form("a.redis.cache.windows.net"), ("a.redis.cache.windows.net".to_owned(), 6380, true));
        assert_eq!(form("[::1]:7000"), ("::1".to_owned(), 7000, false));
        assert_eq!(form("::1"), ("::1".to_owned(), 6379, false));
    }

    #[test]
    fn user_database_name_and_timeouts_are_read() {
        let parsed = parse(
            " h:1 , User=u, defaultDatabase=3 ,name=app,connectTimeout=100,syncTimeout=200,asyncTimeout=300",
        );
        assert_eq!((parsed.user.as_deref(), parsed.database), (Some("u"), 3));
        assert_eq!(parsed.client_name.as_deref(), Some("app"));
        assert_eq!(parsed.connect_timeout, Some(Duration::from_millis(100)));
        assert_eq!(parsed.response_timeout, Some(Duration::from_millis(300)));
    }

    #[test]
    fn an_unsupported_keyword_is_rejected_by_name() {
        for (text, expected) in [
            ("", "has no host"),
            ("password=x", "has no host"),
            ("a:1,b:2", "several hosts"),
            ("a:0", "the port of 'a:0'"),
            ("a:1,pasword=secret", "'pasword' is not a keyword"),
            ("a:1,serviceName=mymaster", "'serviceName' is not supported"),
            ("a:1,ssl=maybe", "the value of 'ssl' must be True or False"),
            ("a:1,ssl=true,sslHost=b", "'sslHost' is not supported"),
            ("a:1,connectTimeout=soon", "a positive number of milliseconds"),
            ("a:1,$get=", "'$command' is not supported"),
        ] {
            let error = ConnectionString::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
