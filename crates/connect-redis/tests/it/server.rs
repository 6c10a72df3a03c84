//! A Redis server of its own for each test, and the connector of a host that uses it.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use connect_redis::{Options, Redis};
use functions_contract::{
    AppSettings, BindingContext, BindingSpec, Connector as _, Direction, Source, SourceDelivery, Value,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use redis::aio::MultiplexedConnection;
use serde_json::{Map, Value as Json, json};
use trace::TraceContext;

/// The longest wait of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; dropping it kills it.
pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
    arguments: Vec<String>,
    /// Deleted on drop.
    folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_on(|_| arguments.iter().map(|argument| (*argument).to_owned()).collect())
    }

    fn start_on(arguments: impl Fn(u16) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Another process may get the port between the probe and the start.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let arguments = arguments(port);
            if let Some(process) = spawn(port, &arguments, folder.path()) {
                return Self { process, port, arguments, folder };
            }
        }
        panic!("redis-server did not start on any of 10 ports");
    }

    /// Starts a server that accepts connections over TLS only, with a new certificate for `localhost` by an authority of its own.
    pub(crate) fn start_tls() -> (Self, TlsFiles) {
        let files = TlsFiles::new();
        // The last --port wins: without TLS it accepts no connections.
        let server = Self::start_on(|port| {
            let port = port.to_string();
            let path = |path: &Path| path.display().to_string();
            let flags = ["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"];
            let mut flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
            for (flag, file) in [
                ("--tls-cert-file", files.path("server.pem")),
                ("--tls-key-file", files.path("server.key")),
                ("--tls-ca-cert-file", files.root()),
            ] {
                flags.extend([flag.to_owned(), path(&file)]);
            }
            flags
        });
        (server, files)
    }

    /// Kills the server and starts it again on the same port, without its data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let started = spawn(self.port, &self.arguments, self.folder.path());
        self.process = started.expect("the port is free again");
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings(format!("127.0.0.1:{},abortConnect=False", self.port))
    }

    /// A client beside the code under test.
    pub(crate) async fn client(&self) -> MultiplexedConnection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port)).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }
}

/// A certificate authority and the certificate of a server. Deleted on drop.
pub(crate) struct TlsFiles {
    folder: tempfile::TempDir,
}

impl TlsFiles {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        write("root.pem", &authority.self_signed(&authority_key).unwrap().pem());
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        write("server.pem", &server.signed_by(&key, &issuer).unwrap().pem());
        write("server.key", &key.serialize_pem());
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file of the authority.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("root.pem")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16, arguments: &[String], folder: &Path) -> Option<Child> {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(folder);
    let started = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut process =
        started.expect("redis-server is installed: apt-get install redis-server, or cargo xtask ci");
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    // The server's log is not read further; it is small enough for the pipe.
    let is_ready = lines.map_while(Result::ok).any(|line| line.contains("Ready to accept connections"));
    if !is_ready {
        process.wait().unwrap();
    }
    is_ready.then_some(process)
}

/// App settings with the connection string `Redis`.
pub(crate) struct Settings(pub(crate) String);

impl AppSettings for Settings {
    fn setting(&self, name: &str) -> Option<String> {
        match name {
            "Redis" => Some(self.0.clone()),
            "Managed__redisHostName" => Some("cache.redis.cache.windows.net".to_owned()),
            _ => None,
        }
    }

    fn host_id(&self) -> &str {
        "host"
    }
}

/// The connector of a host. Two connectors of one name are two processes of one host.
pub(crate) fn connector(instance: &str, lock_ms: u64) -> Redis {
    let lock_ms = lock_ms.try_into().unwrap();
    Redis::new(Options { instance: instance.to_owned(), lock_ms, ..Options::default() })
}

pub(crate) fn spec(kind: &str, direction: Direction, properties: Json) -> BindingSpec {
    let Json::Object(mut properties) = properties else { panic!("properties are an object") };
    properties.entry("connection").or_insert("Redis".into());
    BindingSpec {
        function: "work".to_owned(),
        name: "entry".to_owned(),
        kind: kind.to_owned(),
        direction,
        properties,
    }
}

/// A trigger that polls often.
pub(crate) async fn open(
    redis: &Redis,
    settings: &Settings,
    kind: &str,
    properties: Json,
) -> Box<dyn Source> {
    let mut all = json!({"pollingIntervalInMs": 20});
    all.as_object_mut().unwrap().extend(properties.as_object().unwrap().clone());
    redis.source(&spec(kind, Direction::In, all), settings).await.unwrap()
}

pub(crate) async fn next(source: &mut Box<dyn Source>) -> SourceDelivery {
    tokio::time::timeout(PATIENCE, source.next()).await.expect("a delivery comes").unwrap()
}

/// Whether the source hands out nothing within the wait.
pub(crate) async fn has_nothing(source: &mut Box<dyn Source>) -> bool {
    tokio::time::timeout(Duration::from_millis(200), source.next()).await.is_err()
}

pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Json(text) => text.to_string(),
        other => panic!("{other:?} is not text"),
    }
}

/// A value of the trigger metadata.
pub(crate) fn metadata<'a>(delivery: &'a SourceDelivery, name: &str) -> &'a Value {
    let found = delivery.batch.metadata.iter().find(|(known, _)| known == name);
    &found.unwrap_or_else(|| panic!("no {name}")).1
}

/// The context of an invocation for a binding with these properties.
pub(crate) fn context(properties: &Map<String, Json>) -> BindingContext<'_> {
    static DATA: std::sync::LazyLock<Map<String, Json>> = std::sync::LazyLock::new(Map::new);
    BindingContext {
        invocation_id: "1",
        properties,
        binding_data: &DATA,
        origin: None,
        trace: TraceContext::root(),
    }
}
