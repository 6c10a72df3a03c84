//! A client of the document service that signs its requests as SDKs do, with an old date unless another one is set.

use identity::DEVELOPMENT_COSMOS_KEY;
use identity::master_key::{MasterKey, SignedParts, sign};
use testkit::{ChildProcess, Http, HttpResponse};

pub(crate) const DATE: &str = "sun, 01 nov 2026 08:00:00 gmt";
/// Path of the items of the container that [`Account::container`] creates.
pub(crate) const ITEMS: &str = "/dbs/d/colls/c/docs";

pub(crate) struct Account {
    http: Http,
    key: MasterKey,
    date: String,
}

impl Account {
    /// With the public key of the emulator.
    pub(crate) fn of(process: &ChildProcess) -> Self {
        Self::with_key(process, DEVELOPMENT_COSMOS_KEY)
    }

    /// With the emulator's key, at a service with another name than `documents`.
    pub(crate) fn named(process: &ChildProcess, service: &str) -> Self {
        Self { http: process.http(service), ..Self::of(process) }
    }

    pub(crate) fn with_key(process: &ChildProcess, key: &str) -> Self {
        Self::with_key_at(process, "documents", key)
    }

    /// With this key, at a service by its name.
    pub(crate) fn with_key_at(process: &ChildProcess, service: &str, key: &str) -> Self {
        Self {
            http: process.http(service),
            key: MasterKey::parse(key).expect("a key in base64"),
            date: DATE.to_owned(),
        }
    }

    /// A copy that signs with another date.
    pub(crate) fn at(self, date: &str) -> Self {
        Self { date: date.to_owned(), ..self }
    }

    pub(crate) fn authorization(&self, verb: &str, path: &str) -> String {
        sign(&self.key, &SignedParts { verb, path, ms_date: &self.date, date: "" })
    }

    pub(crate) async fn send(
        &self,
        verb: &str,
        path: &str,
        partition: Option<&str>,
        body: impl Into<Vec<u8>>,
    ) -> anyhow::Result<HttpResponse> {
        let authorization = self.authorization(verb, path);
        let partition = partition.map(|value| format!("[\"{value}\"]"));
        let mut headers = vec![("authorization", authorization.as_str()), ("x-ms-date", self.date.as_str())];
        headers.extend(partition.as_deref().map(|value| ("x-ms-documentdb-partitionkey", value)));
        self.http.send(verb, path, &headers, body.into()).await
    }

    /// Creates an empty database and container.
    pub(crate) async fn container(&self) {
        let made = [
            ("/dbs", r#"{"id":"d"}"#),
            ("/dbs/d/colls", r#"{"id":"c","partitionKey":{"paths":["/id"],"kind":"Hash","version":2}}"#),
        ];
        for (path, body) in made {
            let answer = self.send("POST", path, None, body).await.expect("it answers");
            assert_eq!(answer.status, 201, "{}", answer.text());
        }
    }

    /// Writes an item with this number of bytes besides its id.
    pub(crate) async fn put(&self, id: &str, bytes: usize) -> anyhow::Result<HttpResponse> {
        let item = format!(r#"{{"id":"{id}","v":"{}"}}"#, "v".repeat(bytes));
        self.send("POST", ITEMS, Some(id), item).await
    }

    pub(crate) async fn delete(&self, id: &str) -> anyhow::Result<HttpResponse> {
        self.send("DELETE", &format!("{ITEMS}/{id}"), Some(id), "").await
    }

    pub(crate) async fn has(&self, id: &str) -> bool {
        let answer = self.send("GET", &format!("{ITEMS}/{id}"), Some(id), "").await;
        answer.expect("it answers").status == 200
    }
}
