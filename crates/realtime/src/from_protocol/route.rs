//! Routes a REST request to its operation by method and path, in both versions of the API.
//!
//! The emulator accepts each path under both prefixes, and apps rely on it, so one table serves both; only the status of a
//! success differs (see [`Api`]).

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::error_table;
use crate::rejection::Rejection;

/// The version of the API, by the path's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// `/api/v1`.
    V1,
    /// `/api` with `api-version=<date>` in the query.
    Dated,
}

/// The object of an operation, as the path names it; not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum To {
    All,
    Group(String),
    User(String),
    Connection(String),
}

/// The requested operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Health,
    Send(To),
    Close(To),
    Exists(To),
    UserInGroup {
        user: String,
        group: String,
    },
    ConnectionJoins {
        connection: String,
        group: String,
    },
    ConnectionLeaves {
        connection: String,
        group: String,
    },
    ConnectionLeavesAll {
        connection: String,
    },
    UserJoins {
        user: String,
        group: String,
    },
    UserLeaves {
        user: String,
        group: String,
    },
    UserLeavesAll {
        user: String,
    },
    /// Execute commands for the connections that a filter selects.
    Execute,
    /// Issue a token for a client.
    GenerateToken,
    /// Invoke a client method and respond with its result.
    Invoke {
        connection: String,
    },
    /// Refresh the authentication of the connection that the body names.
    RefreshAuth,
    /// Return the claims of the connection that the body names.
    ConnectionClaims,
    StreamItem {
        connection: String,
        stream: String,
    },
    StreamEnd {
        connection: String,
        stream: String,
    },
    /// List the connections of a hub, a group or a user.
    ListConnections(To),
    ListUsers,
    ListGroups,
    Count,
    /// Stream the trace events of a hub.
    Watch,
    /// Issue a dynamic key to a caller that logged in.
    AccessKey,
}

/// An operation and its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Routed {
    pub(crate) api: Api,
    /// The hub's name as the path has it; empty for operations without one.
    pub(crate) hub: String,
    pub(crate) operation: Operation,
}

/// Finds the operation; if there is none, the error says whether the path or the method is wrong.
pub(crate) fn route(method: &Method, path: &str) -> Result<Routed, Rejection> {
    let raw = path.trim_matches('/').split('/');
    let decoded: Vec<Cow<'_, str>>;
    let segments: Vec<&str> = if memchr::memchr(b'%', path.as_bytes()).is_none() {
        raw.collect()
    } else {
        let all: Option<Vec<_>> = raw.map(|segment| percent_decode_str(segment).decode_utf8().ok()).collect();
        decoded = all.ok_or_else(|| {
            let message = "the path is not UTF-8 after percent-decoding; encode names as UTF-8 and then with percent signs";
            Rejection::new(&error_table::INVALID_PATH, message)
        })?;
        decoded.iter().map(AsRef::as_ref).collect()
    };
    let is = |segment: &str, word: &str| segment.eq_ignore_ascii_case(word);
    let (api, rest) = match segments.as_slice() {
        [api, v1, rest @ ..] if is(api, "api") && is(v1, "v1") => (Api::V1, rest),
        [api, rest @ ..] if is(api, "api") => (Api::Dated, rest),
        _ => return Err(unknown(path)),
    };
    let (hub, mut table) = match rest {
        [health] if is(health, "health") => ("", vec![(Method::GET, Operation::Health)]),
        [auth, name] if is(auth, "auth") && is(name, "accessKey") => {
            ("", vec![(Method::GET, Operation::AccessKey)])
        }
        [hubs, hub, rest @ ..] if is(hubs, "hubs") && rest.iter().all(|segment| !segment.is_empty()) => {
            (*hub, table(&with_canonical_case(rest)))
        }
        _ => return Err(unknown(path)),
    };
    if table.is_empty() {
        return Err(unknown(path));
    }
    // An existence check is GET in one SDK and HEAD in another. A response that never ends has no HEAD.
    let endless = table.iter().any(|(_, operation)| *operation == Operation::Watch);
    let wanted = if *method == Method::HEAD && !endless { &Method::GET } else { method };
    let found = table.iter().position(|(other, _)| other == wanted);
    let Some(found) = found else {
        let mut allow: Vec<&str> = table.iter().map(|(method, _)| method.as_str()).collect();
        if allow.contains(&"GET") && !endless {
            allow.push("HEAD");
        }
        return Err(Rejection::method(&allow.join(", ")));
    };
    let (_, operation) = table.swap_remove(found);
    Ok(Routed { api, hub: hub.to_owned(), operation })
}

fn unknown(path: &str) -> Rejection {
    let path: String = path.chars().take(256).collect();
    Rejection::not_found(format!(
        "there is no operation at '{path}'; operations are below /api/v1/hubs/<hub> and /api/hubs/<hub>"
    ))
}

/// The fixed segments of paths below a hub; names are in between, at every second position.
const WORDS: [&str; 12] = [
    ":send",
    ":closeConnections",
    ":execute",
    ":generateToken",
    ":count",
    ":watch",
    ":invoke",
    ":complete",
    "connections",
    "users",
    "groups",
    "streams",
];

/// The segments, with the fixed ones spelled as in the table: their case is ignored, as in ASP.NET Core. The case of names is
/// not.
fn with_canonical_case<'a>(segments: &[&'a str]) -> Vec<&'a str> {
    let plain = |(place, segment): (usize, &&'a str)| {
        let word = WORDS.iter().find(|word| place % 2 == 0 && word.eq_ignore_ascii_case(segment));
        *word.unwrap_or(segment)
    };
    segments.iter().enumerate().map(plain).collect()
}

/// The operations for a path below a hub.
fn table(rest: &[&str]) -> Vec<(Method, Operation)> {
    let post = |operation| vec![(Method::POST, operation)];
    let get = |operation| vec![(Method::GET, operation)];
    match *rest {
        [] | [":send"] => post(Operation::Send(To::All)),
        [":closeConnections"] => post(Operation::Close(To::All)),
        [":execute"] => post(Operation::Execute),
        [":generateToken"] => post(Operation::GenerateToken),
        [":count"] => get(Operation::Count),
        [":watch"] => get(Operation::Watch),
        ["connections"] => get(Operation::ListConnections(To::All)),
        ["users"] => get(Operation::ListUsers),
        ["groups"] => get(Operation::ListGroups),
        ["groups", group] => {
            let to = To::Group(group.to_owned());
            vec![(Method::POST, Operation::Send(to.clone())), (Method::GET, Operation::Exists(to))]
        }
        ["groups", group, ":send"] => post(Operation::Send(To::Group(group.to_owned()))),
        ["groups", group, ":closeConnections"] => post(Operation::Close(To::Group(group.to_owned()))),
        ["groups", group, "connections"] => get(Operation::ListConnections(To::Group(group.to_owned()))),
        ["groups", group, "connections", connection] | ["connections", connection, "groups", group] => {
            connection_in_group(connection, group)
        }
        ["groups", group, "users", user] | ["users", user, "groups", group] => user_in_group(user, group),
        ["users", user] => {
            let to = To::User(user.to_owned());
            vec![(Method::POST, Operation::Send(to.clone())), (Method::GET, Operation::Exists(to))]
        }
        ["users", user, ":send"] => post(Operation::Send(To::User(user.to_owned()))),
        ["users", user, ":closeConnections"] => post(Operation::Close(To::User(user.to_owned()))),
        ["users", user, "connections"] => get(Operation::ListConnections(To::User(user.to_owned()))),
        ["users", user, "groups"] => {
            vec![(Method::DELETE, Operation::UserLeavesAll { user: user.to_owned() })]
        }
        // Neither segment is a valid connection id.
        ["connections", refresh] if refresh.eq_ignore_ascii_case(":refreshAuth") => {
            post(Operation::RefreshAuth)
        }
        ["connections", claims] if claims.eq_ignore_ascii_case("claims") => {
            // A version of the SDK uses QUERY (RFC 10008), which is a GET with a body.
            let query = Method::from_bytes(b"QUERY").expect("QUERY is a valid method");
            vec![(Method::POST, Operation::ConnectionClaims), (query, Operation::ConnectionClaims)]
        }
        ["connections", connection] => {
            let to = To::Connection(connection.to_owned());
            vec![
                (Method::POST, Operation::Send(to.clone())),
                (Method::GET, Operation::Exists(to.clone())),
                (Method::DELETE, Operation::Close(to)),
            ]
        }
        ["connections", connection, ":send"] => post(Operation::Send(To::Connection(connection.to_owned()))),
        ["connections", connection, ":invoke"] => {
            post(Operation::Invoke { connection: connection.to_owned() })
        }
        ["connections", connection, "groups"] => {
            vec![(Method::DELETE, Operation::ConnectionLeavesAll { connection: connection.to_owned() })]
        }
        ["connections", connection, "streams", stream, end] => {
            let (connection, stream) = (connection.to_owned(), stream.to_owned());
            match end {
                ":send" => post(Operation::StreamItem { connection, stream }),
                ":complete" => post(Operation::StreamEnd { connection, stream }),
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

fn connection_in_group(connection: &str, group: &str) -> Vec<(Method, Operation)> {
    let (connection, group) = (connection.to_owned(), group.to_owned());
    let joins = Operation::ConnectionJoins { connection: connection.clone(), group: group.clone() };
    vec![(Method::PUT, joins), (Method::DELETE, Operation::ConnectionLeaves { connection, group })]
}

fn user_in_group(user: &str, group: &str) -> Vec<(Method, Operation)> {
    let (user, group) = (user.to_owned(), group.to_owned());
    vec![
        (Method::GET, Operation::UserInGroup { user: user.clone(), group: group.clone() }),
        (Method::PUT, Operation::UserJoins { user: user.clone(), group: group.clone() }),
        (Method::DELETE, Operation::UserLeaves { user, group }),
    ]
}

impl Operation {
    /// The value of the metric's label.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Send(To::All) => "send_all",
            Self::Send(To::Group(_)) => "send_group",
            Self::Send(To::User(_)) => "send_user",
            Self::Send(To::Connection(_)) => "send_connection",
            Self::Close(_) => "close",
            Self::Exists(_) | Self::UserInGroup { .. } => "exists",
            Self::ConnectionJoins { .. } | Self::UserJoins { .. } => "join",
            Self::ConnectionLeaves { .. }
            | Self::ConnectionLeavesAll { .. }
            | Self::UserLeaves { .. }
            | Self::UserLeavesAll { .. } => "leave",
            Self::Execute => "execute",
            Self::GenerateToken => "generate_token",
            Self::Invoke { .. } => "invoke",
            Self::RefreshAuth => "refresh_auth",
            Self::ConnectionClaims => "claims",
            Self::StreamItem { .. } | Self::StreamEnd { .. } => "stream",
            Self::ListConnections(_) | Self::ListUsers | Self::ListGroups => "list",
            Self::Count => "count",
            Self::Watch => "watch",
            Self::AccessKey => "access_key",
        }
    }
}
