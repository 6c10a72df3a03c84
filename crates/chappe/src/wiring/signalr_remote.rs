//! A SignalR service over the network: its REST data plane, version 1, as the management SDK calls it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use functions_contract::BindingError;
use http::{Method, Request, StatusCode, header};
use identity::{AccessKey, Algorithm, Claims, SignalRConnectionString};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use trace::TraceContext;

use super::signalr::item::{Action, Change, Item, NO_GROUP, NO_MEMBER, Receiver};

/// How long a token for one request is good for.
const REQUEST_TOKEN_LIFETIME: Duration = Duration::from_secs(300);

/// What a path segment may hold unescaped (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A service named by a connection string.
pub(crate) struct Remote {
    connection: SignalRConnectionString,
    key: AccessKey,
    client: egress::Client,
}

impl Remote {
    pub(crate) fn new(connection: SignalRConnectionString, key: AccessKey, client: egress::Client) -> Self {
        Self { connection, key, client }
    }

    /// Address and token for a client.
    pub(crate) fn client_access(
        &self,
        hub: &str,
        user: Option<&str>,
        claims: &Claims,
        lifetime: Duration,
    ) -> (String, String) {
        let hub = hub.to_ascii_lowercase();
        let mut claims = claims.clone();
        if let Some(user) = user {
            claims.push("asrs.s.uid", user);
        }
        let audience = format!("{}/client/?hub={hub}", self.connection.audience_base());
        (
            format!("{}/client/?hub={hub}", self.connection.client_url()),
            self.sign(&claims, &audience, lifetime),
        )
    }

    /// Sends a message or changes a group.
    pub(crate) async fn write(&self, hub: &str, item: Item, trace: TraceContext) -> Result<(), BindingError> {
        let hub = segment(&hub.to_ascii_lowercase());
        let (method, operation, body) = match item {
            Item::Message { receiver, target, arguments } => {
                let path = match receiver {
                    Receiver::All => String::new(),
                    Receiver::Connection(id) => format!("/connections/{}", segment(&id)),
                    Receiver::User(id) => format!("/users/{}", segment(&id)),
                    Receiver::Group(name) => format!("/groups/{}", segment(&name)),
                };
                let target = serde_json::Value::from(target);
                let body = format!("{{\"target\":{target},\"arguments\":{}}}", arguments.get());
                (Method::POST, Operation::V1(path), Bytes::from(body))
            }
            Item::Group(change) => {
                let (method, operation) = group_operation(&change)?;
                (method, operation, Bytes::new())
            }
        };
        let path = match operation {
            Operation::V1(path) => format!("/api/v1/hubs/{hub}{path}"),
            Operation::V2022(path) => format!("/api/hubs/{hub}{path}?api-version=2022-06-01"),
        };
        self.call(method, &path, body, trace).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        trace: TraceContext,
    ) -> Result<(), BindingError> {
        let url = format!("{}{path}", self.connection.server_url());
        let what = format!("{method} {url}");
        let token = self.sign(
            &Claims::new(),
            &format!("{}{path}", self.connection.audience_base()),
            REQUEST_TOKEN_LIFETIME,
        );
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header("traceparent", trace.to_traceparent())
            .body(body);
        let request =
            request.map_err(|error| BindingError::Value(format!("{url} is no address: {error}")))?;
        let response = self.client.call(request).await.map_err(|error| BindingError::System {
            what: what.clone(),
            retryable: true,
            cause: Some(Box::new(error)),
        })?;
        match response.status() {
            status if status.is_success() => Ok(()),
            // The member is gone: nothing is left to change, as for the management SDK.
            StatusCode::NOT_FOUND if path.contains("/groups/") && what.starts_with("DELETE") => Ok(()),
            status => Err(BindingError::System {
                what: format!("{what} was answered {status}: {}", excerpt(response.body())),
                // The retry contract of the management SDK: 500 may be a timeout of a message that was sent.
                retryable: status.as_u16() > 500,
                cause: None,
            }),
        }
    }

    fn sign(&self, claims: &Claims, audience: &str, lifetime: Duration) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        identity::sign(claims, audience, now, now + lifetime.as_secs(), &self.key, Algorithm::Hs256)
    }
}

/// The path of an operation below its hub, in the oldest API version that has it.
#[derive(Debug, PartialEq, Eq)]
enum Operation {
    V1(String),
    V2022(String),
}

fn group_operation(change: &Change) -> Result<(Method, Operation), BindingError> {
    let wrong = |what: &str| Err(BindingError::Value(what.to_owned()));
    let method = if change.action == Action::Add { Method::PUT } else { Method::DELETE };
    let removes_all = change.action == Action::RemoveAll;
    let operation = match (&change.connection, &change.user, &change.group) {
        // Version 1 cannot take a connection out of all its groups.
        (Some(connection), _, _) if removes_all => {
            Operation::V2022(format!("/connections/{}/groups", segment(connection)))
        }
        (None, Some(user), _) if removes_all => Operation::V1(format!("/users/{}/groups", segment(user))),
        (Some(connection), _, Some(group)) => {
            Operation::V1(format!("/groups/{}/connections/{}", segment(group), segment(connection)))
        }
        (None, Some(user), Some(group)) => {
            Operation::V1(format!("/groups/{}/users/{}", segment(group), segment(user)))
        }
        (None, None, _) => return wrong(NO_MEMBER),
        (_, _, None) => return wrong(NO_GROUP),
    };
    Ok((method, operation))
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// As much of an answer as a log line can bear.
fn excerpt(body: &Bytes) -> String {
    String::from_utf8_lossy(body).chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_actions_are_the_operations_that_have_them() {
        let operation = |action, group: Option<&str>, connection: Option<&str>, user: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let change =
                Change { action, group: owned(group), connection: owned(connection), user: owned(user) };
            group_operation(&change)
                .map(|(method, operation)| format!("{method} {operation:?}"))
                .unwrap_or_default()
        };
        let found = [
            operation(Action::Add, Some("a b"), Some("c"), None),
            operation(Action::Remove, Some("g"), None, Some("u/1")),
            operation(Action::RemoveAll, None, None, Some("u")),
            operation(Action::RemoveAll, None, Some("c"), None),
        ];
        let expected = [
            r#"PUT V1("/groups/a%20b/connections/c")"#,
            r#"DELETE V1("/groups/g/users/u%2F1")"#,
            r#"DELETE V1("/users/u/groups")"#,
            r#"DELETE V2022("/connections/c/groups")"#,
        ];
        assert_eq!(found, expected);
    }
}
