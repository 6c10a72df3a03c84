//! [`RedisClient`]: one server, with a connection that all triggers and bindings of a connection string share.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use functions_contract::BindingError;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, TlsCertificates,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::connection_string::ConnectionString;
use crate::error::Server;
use crate::options::Options;

/// A connection that was not used for this long is tested before it is used: a server that restarted meanwhile costs no command.
const TESTED_AFTER: Duration = Duration::from_secs(5);

/// The name that the connection has in the server's CLIENT LIST.
const CLIENT_NAME: &str = "AzureFunctionsRedisExtension";

/// A server. Connects at first use, and again after a failure.
pub(crate) struct RedisClient {
    client: redis::Client,
    pub(crate) server: Server,
    client_name: String,
    connect_timeout: Duration,
    response_timeout: Duration,
    open: Mutex<Option<OpenConnection>>,
}

/// Why a client cannot be created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// A file of `root_files` cannot be read.
    #[error("the file {path} of connect.redis.root_files cannot be read; correct the path, or its permissions", path = .path.display())]
    RootFile {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// The client library refuses the connection string or the certificates.
    #[error(transparent)]
    Library(#[from] RedisError),
}

struct OpenConnection {
    connection: MultiplexedConnection,
    used_at: Instant,
}

impl RedisClient {
    pub(crate) fn new(
        connection: &ConnectionString,
        setting: &str,
        options: &Options,
    ) -> Result<Self, ClientError> {
        let address = match connection.tls {
            false => ConnectionAddr::Tcp(connection.host.clone(), connection.port),
            true => ConnectionAddr::TcpTls {
                host: connection.host.clone(),
                port: connection.port,
                insecure: false,
                tls_params: None,
            },
        };
        let mut redis = RedisConnectionInfo::default().set_db(connection.database);
        if let Some(user) = &connection.user {
            redis = redis.set_username(user);
        }
        if let Some(password) = &connection.password {
            redis = redis.set_password(password);
        }
        let info = address.into_connection_info()?.set_redis_settings(redis);
        if connection.tls {
            // The client library uses the provider of the process. An error means that there is one already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = match connection.tls {
            true if !options.root_files.is_empty() => {
                let root_cert = Some(read_roots(&options.root_files)?);
                redis::Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })?
            }
            _ => redis::Client::open(info)?,
        };
        let milliseconds = Duration::from_millis;
        Ok(Self {
            client,
            server: Server { address: connection.address(), setting: setting.to_owned() },
            client_name: connection.client_name.clone().unwrap_or_else(|| CLIENT_NAME.to_owned()),
            connect_timeout: connection
                .connect_timeout
                .unwrap_or(milliseconds(options.connect_timeout_ms.get())),
            response_timeout: connection
                .response_timeout
                .unwrap_or(milliseconds(options.response_timeout_ms.get())),
            open: Mutex::default(),
        })
    }

    /// Runs a command. `what` names it in errors.
    pub(crate) async fn query<T: FromRedisValue>(
        &self,
        what: &str,
        command: &Cmd,
    ) -> Result<T, BindingError> {
        self.try_query(command).await.map_err(|error| self.server.failed(what, error))
    }

    /// Runs a command; the caller looks at the error.
    pub(crate) async fn try_query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let mut connection = self.connection().await?;
        let result = command.query_async(&mut connection).await;
        self.forget_broken(result.as_ref().err()).await;
        result
    }

    /// Runs several commands with one round trip, in order. The error is that of the first command that failed.
    pub(crate) async fn run_all(&self, what: &str, commands: &Pipeline) -> Result<(), BindingError> {
        let run = async {
            let mut connection = self.connection().await?;
            let result = commands.exec_async(&mut connection).await;
            self.forget_broken(result.as_ref().err()).await;
            result.map_err(first_of_pipeline)
        };
        run.await.map_err(|error| self.server.failed(what, error))
    }

    /// A connection of its own for a subscription.
    pub(crate) async fn subscription(&self, what: &str) -> Result<PubSub, BindingError> {
        let connected = tokio::time::timeout(self.connect_timeout, self.client.get_async_pubsub()).await;
        let connected = connected.unwrap_or_else(|_| Err(timed_out()));
        connected.map_err(|error| self.server.failed(what, error))
    }

    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_mut() {
            let mut connection = open.connection.clone();
            let is_fresh = open.used_at.elapsed() < TESTED_AFTER;
            if is_fresh || redis::cmd("PING").exec_async(&mut connection).await.is_ok() {
                open.used_at = Instant::now();
                return Ok(connection);
            }
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        // An ACL may forbid it; the name is only shown to operators.
        let _ = redis::cmd("CLIENT").arg("SETNAME").arg(&self.client_name).exec_async(&mut connection).await;
        *open = Some(OpenConnection { connection: connection.clone(), used_at: Instant::now() });
        Ok(connection)
    }

    async fn forget_broken(&self, error: Option<&RedisError>) {
        if error.is_some_and(|error| error.is_unrecoverable_error() || error.is_io_error()) {
            *self.open.lock().await = None;
        }
    }
}

/// The certificates of all files, one after the other.
fn read_roots(files: &[PathBuf]) -> Result<Vec<u8>, ClientError> {
    let mut all = Vec::new();
    for path in files {
        let read = std::fs::read(path);
        all.extend(read.map_err(|cause| ClientError::RootFile { path: path.clone(), cause })?);
        all.push(b'\n');
    }
    Ok(all)
}

/// The error of the first command that the server rejected; the one of a pipeline does not say why.
fn first_of_pipeline(error: RedisError) -> RedisError {
    let rejected = error.clone().into_server_errors();
    rejected.and_then(|errors| errors.first().map(|(_, first)| first.clone().into())).unwrap_or(error)
}

fn timed_out() -> RedisError {
    RedisError::from(io::Error::from(io::ErrorKind::TimedOut))
}
