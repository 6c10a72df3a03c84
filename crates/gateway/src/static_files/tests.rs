//! Static files with a failing disk and slow readers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use http_messages::Body;
use tokio::time::timeout;

use super::{Directories, Directory};

/// No test waits longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo can be run");
    assert!(made.success(), "a named pipe can be made");
}

async fn get(directory: &Directory, path: &str) -> (StatusCode, Body) {
    let headers = HeaderMap::new();
    let response = directory.respond(&Method::GET, &headers, path);
    let response = timeout(PATIENCE, response).await.expect("it does not block");
    (response.status(), response.into_body())
}

async fn chunk(body: &mut Body) -> Option<Result<Bytes, String>> {
    let frame = timeout(PATIENCE, body.frame()).await.expect("it does not block")?;
    Some(frame.map(|frame| frame.into_data().expect("data")).map_err(|error| error.to_string()))
}

/// How many descriptors of this process refer to `path`; `None` if the system does not report it.
fn descriptors_of(path: &Path) -> Option<usize> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?;
    let leads_there = |link: std::io::Result<std::path::PathBuf>| link.is_ok_and(|link| link == path);
    Some(open.flatten().filter(|entry| leads_there(std::fs::read_link(entry.path()))).count())
}

#[tokio::test]
async fn a_named_pipe_is_not_served_and_does_not_block() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let root = folder.path().canonicalize().expect("it exists");
    std::fs::create_dir(root.join("deep")).expect("a folder can be made");
    std::fs::write(root.join("page.html"), "page").expect("a file can be written");
    pipe(&root.join("pipe"));
    pipe(&root.join("deep/index.html"));
    std::os::unix::fs::symlink(root.join("pipe"), root.join("link")).expect("a link can be made");
    let directory = Directories::new().at(root);
    // More often than the limit of blocked threads.
    for _ in 0..40 {
        for path in ["pipe", "link", "deep", "deep/index.html"] {
            assert_eq!(get(&directory, path).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }
    let (status, mut body) = get(&directory, "page.html").await;
    assert_eq!((status, chunk(&mut body).await), (StatusCode::OK, Some(Ok(Bytes::from("page")))));
}

#[tokio::test]
async fn stalled_readers_use_few_descriptors_and_can_continue() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let root = folder.path().canonicalize().expect("it exists");
    let content: Vec<u8> = (0..300_000u32).map(|number| (number % 251) as u8).collect();
    let file = root.join("large.bin");
    std::fs::write(&file, &content).expect("a file can be written");
    let directory = Directories::new().at(root);

    let mut unread = Vec::new();
    for _ in 0..100 {
        unread.push(get(&directory, "large.bin").await.1);
    }
    assert!(descriptors_of(&file).is_none_or(|count| count == 0), "nothing is opened before it is read");
    let mut started = Vec::new();
    for mut body in unread {
        let first = chunk(&mut body).await.expect("there is more").expect("it can be read");
        assert!(first.len() <= 8 * 1024, "the first chunk has {} bytes", first.len());
        started.push((body, first.to_vec()));
    }
    match descriptors_of(&file) {
        Some(count) => assert!(count <= 16, "{count} descriptors for 100 responses"),
        None => println!("not checked: this system does not tell which files a process has open"),
    }
    for (mut body, mut read) in started {
        while let Some(next) = chunk(&mut body).await {
            read.extend_from_slice(&next.expect("it can be read"));
        }
        assert!(read == content, "{} bytes of {}", read.len(), content.len());
    }
    assert!(descriptors_of(&file).is_none_or(|count| count == 0), "all are closed at the end");
}

#[tokio::test]
async fn a_file_replaced_or_truncated_during_its_response_aborts_it() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let root = folder.path().canonicalize().expect("it exists");
    let file = root.join("large.bin");
    std::fs::write(&file, vec![b'a'; 300_000]).expect("a file can be written");
    let directory = Directories::new().at(root.clone());
    let mut bodies = Vec::new();
    // The first responses lose their handles to later ones.
    for _ in 0..20 {
        let mut body = get(&directory, "large.bin").await.1;
        assert!(chunk(&mut body).await.is_some_and(|first| first.is_ok()));
        bodies.push(body);
    }
    let mut newest = bodies.pop().expect("there are many");
    std::fs::write(root.join("other.bin"), vec![b'b'; 300_001]).expect("a file can be written");
    std::fs::rename(root.join("other.bin"), &file).expect("it takes the other's place");
    let replaced = chunk(&mut bodies[0]).await.expect("it does not end here");
    let replaced = replaced.map(|chunk| chunk.len()).expect_err("it is another file");
    assert!(replaced.contains("changed while it was being sent"), "{replaced}");
    assert!(chunk(&mut bodies[0]).await.is_none(), "nothing follows an error");
    // A response that still has its handle reads the file that it opened.
    while let Some(next) = chunk(&mut newest).await {
        assert!(next.expect("it can be read").iter().all(|byte| *byte == b'a'));
    }
    // A file that was truncated.
    let mut body = get(&directory, "large.bin").await.1;
    assert!(chunk(&mut body).await.is_some_and(|first| first.is_ok()));
    std::fs::write(&file, "b").expect("a file can be written");
    let cut = chunk(&mut body).await.expect("it does not end here");
    assert!(cut.is_err(), "{:?} bytes", cut.map(|chunk| chunk.len()));
}
