//! The path and query of a request target, normalised as ASP.NET Core's server does before routing.

use std::borrow::Cow;

use crate::decision::OcelotRejection;
use crate::percent;

/// A request target that routes are compared with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestPath<'a> {
    /// Decoded once, without dot segments, and encoded again.
    pub(crate) path: Cow<'a, str>,
    /// As received, without `?`.
    pub(crate) query: &'a str,
}

/// Splits and normalises a target in origin or absolute form.
pub(crate) fn normalise<'a>(
    method: &str,
    target: &'a str,
    host: &str,
) -> Result<RequestPath<'a>, OcelotRejection> {
    if target == "*" {
        return Err(if method == "OPTIONS" {
            OcelotRejection::NoRoute
        } else {
            OcelotRejection::AsteriskTarget
        });
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(OcelotRejection::Target);
    }
    let origin = match origin_form(target, host) {
        Some(origin) if origin.starts_with('/') => origin,
        _ => return Err(OcelotRejection::Target),
    };
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    Ok(RequestPath { path: normalise_path(path)?, query })
}

fn origin_form<'a>(target: &'a str, host: &str) -> Option<&'a str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let (scheme, rest) = target.split_once("://")?;
    if !(scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")) {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    // A host in the target that differs from the header would let two hops route the request differently.
    let (authority, origin) = rest.split_at(end);
    authority.eq_ignore_ascii_case(host).then_some(if origin.is_empty() { "/" } else { origin })
}

fn normalise_path(path: &str) -> Result<Cow<'_, str>, OcelotRejection> {
    let dots = path.contains("/.") || path.contains('%');
    if !dots && path.bytes().all(percent::is_path_byte) {
        return Ok(Cow::Borrowed(path));
    }
    if contains_nul(path) {
        return Err(OcelotRejection::Target);
    }
    let decoded = percent::decode(path, |byte| byte == b'/');
    let resolved = without_dot_segments(&decoded);
    let encoded = percent::encode_path(&resolved).into_owned();
    // `%252e%252e` is decoded once, and a hop that decodes it again would leave the folder that the template names.
    if has_encoded_dot_segment(&encoded) {
        return Err(OcelotRejection::DotSegment);
    }
    Ok(Cow::Owned(encoded))
}

fn contains_nul(path: &str) -> bool {
    path.contains("%00")
}

fn without_dot_segments(path: &str) -> Cow<'_, str> {
    if !path.split('/').any(|segment| segment == "." || segment == "..") {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

/// True if a segment is `.` or `..` after decoding it once more.
pub(crate) fn has_encoded_dot_segment(path: &str) -> bool {
    path.contains('%')
        && path.split('/').any(|segment| {
            segment.contains('%') && matches!(&*percent::decode(segment, |_| false), "." | "..")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, expected: Result<(&str, &str), OcelotRejection>) {
        let found = normalise("GET", target, "gw.test");
        let found = found.map(|request| (request.path.into_owned(), request.query));
        assert_eq!(found, expected.map(|(path, query)| (path.to_owned(), query)), "{target}");
    }

    #[test]
    fn paths_are_decoded_once_and_encoded_again() {
        check("/a/b?c=%41", Ok(("/a/b", "c=%41")));
        check("/%41/a%2fb/%252F/%zz/%FF", Ok(("/A/a%2fb/%2F/%25zz/%FF", "")));
        check("/[x]|#y", Ok(("/%5Bx%5D%7C%23y", "")));
        check("/a/./b/../c/..", Ok(("/a/", "")));
        check("/a/%2e%2e/%2e%2e/b", Ok(("/b", "")));
        check("/..%2fa", Ok(("/..%2fa", "")));
        check("//a//b", Ok(("//a//b", "")));
    }

    #[test]
    fn targets_that_no_route_may_get_are_rejected() {
        check("*", Err(OcelotRejection::AsteriskTarget));
        check("x.test:80", Err(OcelotRejection::Target));
        check("http://other.test/a", Err(OcelotRejection::Target));
        check("http://gw.test/a", Ok(("/a", "")));
        check("http://gw.test?a", Err(OcelotRejection::Target));
        check("/a%00", Err(OcelotRejection::Target));
        check("/é", Err(OcelotRejection::Target));
        check("/a/%252e%252e/b", Err(OcelotRejection::DotSegment));
        check("/a/.%252E", Err(OcelotRejection::DotSegment));
    }
}
