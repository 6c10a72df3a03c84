//! [`Audience`]: compares the `aud` of a token with a resource.
//!
//! The issuer of a token decides how it names the service in `aud`, and one service has many names: the gateway's port, its own
//! port, a public address, and the endpoint of a connection string, from which the SDK removes the port. So the path and the hub
//! are compared, and the host only if the operator requires it. A token for one hub is not valid for another hub, and a client
//! token is not valid for a REST operation, whatever its host; the signature excludes tokens of another service, because two
//! services do not share a key.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The audience that a token must have.
#[derive(Debug, Clone)]
pub struct Audience<'a> {
    /// The resource.
    pub resource: Resource<'a>,
    /// The `host[:port]` that the token must name; `None`: any.
    pub host: Option<&'a str>,
}

/// The resource that a token gives access to.
#[derive(Debug, Clone)]
pub enum Resource<'a> {
    /// A client's connection: `{endpoint}/client/?hub={hub}`.
    Client {
        /// The hub with its application prefix; case does not matter.
        hub: &'a str,
    },
    /// An app server's connection: `{endpoint}/server/?hub={hub}`.
    Server {
        /// The hub with its application prefix; case does not matter.
        hub: &'a str,
    },
    /// One REST request: its URL, with or without query.
    Rest {
        /// The path of the request URI.
        path: &'a str,
    },
}

impl Audience<'_> {
    /// Whether an `aud` matches. An endpoint may have a path prefix (a gateway that serves the service below a path), so only the
    /// last segments of the path are compared.
    pub(crate) fn matches(&self, aud: &str) -> bool {
        let Some((_, rest)) = aud.split_once("://") else { return false };
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if self.host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) {
            return false;
        }
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        match self.resource {
            Resource::Client { hub } => ends_with(path, "/client") && names_only(query, hub),
            Resource::Server { hub } => ends_with(path, "/server") && names_only(query, hub),
            Resource::Rest { path: expected } => ends_with(path, expected),
        }
    }
}

/// Whether a query names this hub and no other. A token with two hubs would be ambiguous.
fn names_only(query: &str, hub: &str) -> bool {
    let mut hubs = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter_map(|(name, value)| name.eq_ignore_ascii_case("hub").then_some(decoded(value)).flatten());
    hubs.next().is_some_and(|named| named.eq_ignore_ascii_case(hub)) && hubs.next().is_none()
}

/// Whether the segments of `path` end with those of `expected`; slashes at the end are ignored. Segments are decoded one by one, so
/// that an encoded slash does not become a separator.
fn ends_with(path: &str, expected: &str) -> bool {
    let mut segments = path.trim_matches('/').rsplit('/').map(decoded);
    let mut expected = expected.trim_matches('/').rsplit('/').map(decoded);
    let ends = expected.all(|expected| {
        // A segment that is not UTF-8 matches none.
        let segment = segments.next().flatten();
        segment.is_some() && segment == expected
    });
    ends && segments.all(|segment| segment.is_some())
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    // The usual case: nothing to decode.
    if !text.as_bytes().contains(&b'%') {
        return Some(Cow::Borrowed(text));
    }
    percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_token_is_valid_for_its_hub_with_any_host() {
        let check = |aud: &str, hub: &str, expected: bool| {
            let audience = Audience { resource: Resource::Client { hub }, host: None };
            assert_eq!(audience.matches(aud), expected, "{aud} for {hub}");
        };
        check("http://localhost/client/?hub=chat", "chat", true);
        check("https://other:444/mount/client?a=b&hub=Chat", "cHAT", true);
        check("http://localhost/client/?hub=app%5Fchat", "app_chat", true);
        check("http://localhost/client/?hub=chat", "chat2", false);
        check("http://localhost/client/?hub=chat&hub=other", "chat", false);
        check("http://localhost/client/", "chat", false);
        check("http://localhost/server/?hub=chat", "chat", false);
        check("http://localhost/api/v1/hubs/chat", "chat", false);
        check("chat", "chat", false);
    }

    #[test]
    fn a_server_token_is_valid_for_its_hub_and_not_for_clients() {
        let check = |aud: &str, hub: &str, expected: bool| {
            let audience = Audience { resource: Resource::Server { hub }, host: None };
            assert_eq!(audience.matches(aud), expected, "{aud} for {hub}");
        };
        check("http://localhost/server/?hub=chat", "chat", true);
        check("https://other:444/mount/server?hub=App_Chat", "app_chat", true);
        check("http://localhost/server/?hub=chat", "other", false);
        check("http://localhost/client/?hub=chat", "chat", false);
        check("http://localhost/server/?hub=chat&hub=other", "chat", false);
        check("http://localhost/server/", "chat", false);
    }

    #[test]
    fn a_rest_token_is_valid_for_its_path_with_or_without_query() {
        let check = |aud: &str, path: &str, expected: bool| {
            let audience = Audience { resource: Resource::Rest { path }, host: None };
            assert_eq!(audience.matches(aud), expected, "{aud} for {path}");
        };
        check("http://a/api/v1/hubs/chat", "/api/v1/hubs/chat", true);
        check("http://a/api/hubs/chat/:send?api-version=2022-06-01", "/api/hubs/chat/%3Asend", true);
        check("http://a/mount/api/v1/hubs/chat/", "/api/v1/hubs/chat", true);
        check("http://a/api/v1/hubs/chat", "/api/v1/hubs/other", false);
        check("http://a/api/v1/hubs/chat", "/api/v1/hubs/chat/users/x", false);
        check("http://a/api/v1/hubs/chat/users/x", "/api/v1/hubs/chat", false);
        check("http://a/api/v1/hubs/chat%2Fusers", "/api/v1/hubs/chat/users", false);
        check("http://a/xapi/v1/hubs/chat", "/api/v1/hubs/chat", false);
        check("http://a/", "/", true);
    }

    #[test]
    fn the_host_is_compared_only_if_required() {
        let resource = Resource::Client { hub: "chat" };
        let audience = Audience { resource, host: Some("a:1") };
        assert!(audience.matches("http://A:1/client/?hub=chat"));
        assert!(!audience.matches("http://b:1/client/?hub=chat"));
    }
}
