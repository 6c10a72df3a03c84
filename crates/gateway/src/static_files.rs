//! Serves the files of a folder, read only. Regular files only: opening a named pipe or a device may block forever.

mod files;

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, StreamBody};
use http_messages::Body;

use self::files::{Content, Files, Identity};
use crate::error::RouteRejection;

/// All folders that requests may read from; they share one limit on open files. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Directories(Files);

/// A folder that requests may read from.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    files: Files,
}

impl Directories {
    pub(crate) fn new() -> Self {
        Self(Files::new())
    }

    pub(crate) fn at(&self, root: PathBuf) -> Directory {
        Directory { root, files: self.0.clone() }
    }
}

impl Directory {
    /// Responds with the file at `rest`, the part of the path below the route; for a folder, with its `index.html`.
    pub(crate) async fn respond(&self, method: &Method, headers: &HeaderMap, rest: &str) -> Response<Body> {
        if method != Method::GET && method != Method::HEAD {
            return RouteRejection::FileMethod.respond();
        }
        let Some(relative) = relative_path(rest) else { return RouteRejection::NoFile.respond() };
        let root = self.root.clone();
        let wanted = relative.clone();
        match self.files.run(move || find(&root, &wanted)).await {
            Ok((path, identity)) => {
                let found = Found {
                    etag: etag(identity.bytes, identity.modified.unwrap_or(UNIX_EPOCH)),
                    content_type: content_type(&path),
                    bytes: identity.bytes,
                    content: self.files.content(path, identity),
                };
                found.respond(method, headers)
            }
            Err(cause) if is_absent(&cause) => RouteRejection::NoFile.respond(),
            Err(cause) => {
                tracing::warn!(file = %self.root.join(&relative).display(), %cause, "a file could not be read");
                RouteRejection::FileUnreadable.respond()
            }
        }
    }
}

/// Finds the regular file at a path below the folder, without opening it.
fn find(root: &Path, relative: &Path) -> io::Result<(PathBuf, Identity)> {
    let root = fs::canonicalize(root)?;
    let mut path = fs::canonicalize(root.join(relative))?;
    let mut metadata = fs::metadata(&path)?;
    if metadata.is_dir() {
        path = fs::canonicalize(path.join("index.html"))?;
        metadata = fs::metadata(&path)?;
    }
    // A symbolic link may point out of the folder; its target was not meant to be served.
    if !path.starts_with(&root) {
        return Err(io::ErrorKind::NotFound.into());
    }
    // Named pipes, devices and sockets are not served either, whatever link points to them.
    let identity = Identity::of(&metadata).ok_or(io::ErrorKind::NotFound)?;
    Ok((path, identity))
}

struct Found {
    content: Content,
    bytes: u64,
    etag: String,
    content_type: HeaderValue,
}

impl Found {
    fn respond(self, method: &Method, headers: &HeaderMap) -> Response<Body> {
        let unchanged = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|tag| tag.trim() == self.etag || tag.trim() == "*");
        let etag =
            HeaderValue::from_str(&self.etag).expect("an etag is made of hexadecimal digits and quotes");
        let content = if unchanged || method == Method::HEAD {
            Empty::new().map_err(|never| match never {}).boxed_unsync()
        } else {
            stream(self.content)
        };
        let mut response = Response::new(content);
        let headers = response.headers_mut();
        headers.insert(header::ETAG, etag);
        // The browser revalidates each time, and receives 304 if nothing changed: files on a disk change without notice.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(header::CONTENT_TYPE, self.content_type);
        headers.insert(header::CONTENT_LENGTH, self.bytes.into());
        response
    }
}

/// The file's bytes, a chunk at a time, as the reader reads them; the file is opened for the first chunk.
fn stream(content: Content) -> Body {
    let chunks = futures_util::stream::unfold(Some(content), |content| async move {
        let mut content = content?;
        match content.next_chunk().await {
            Ok(None) => None,
            Ok(Some(chunk)) => Some((Ok(http_body::Frame::data(chunk)), Some(content))),
            Err(cause) => {
                tracing::warn!(%cause, "a file could not be sent to its end");
                Some((Err(cause.into()), None))
            }
        }
    });
    BodyExt::boxed_unsync(StreamBody::new(chunks))
}

/// The path below the folder, or `None` if it would leave the folder or cannot name a file.
fn relative_path(rest: &str) -> Option<PathBuf> {
    let decoded = percent_encoding::percent_decode_str(rest.trim_start_matches('/')).decode_utf8().ok()?;
    if decoded.contains('\0') || decoded.contains('\\') {
        return None;
    }
    let path = PathBuf::from(decoded.as_ref());
    let plain = path.components().all(|component| matches!(component, Component::Normal(_)));
    // Files whose names start with a dot contain settings and secrets (`.env`, `.git`), never pages.
    let hidden = path.components().any(|component| component.as_os_str().to_string_lossy().starts_with('.'));
    (plain && !hidden).then_some(path)
}

fn is_absent(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}

fn etag(bytes: u64, modified: SystemTime) -> String {
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("\"{bytes:x}-{:x}\"", since.as_nanos())
}

fn content_type(path: &Path) -> HeaderValue {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    let text = guess.type_() == mime_guess::mime::TEXT
        || guess.subtype() == "javascript"
        || guess.subtype() == "json";
    let value = if text { format!("{guess}; charset=utf-8") } else { guess.to_string() };
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

#[cfg(test)]
mod tests;
