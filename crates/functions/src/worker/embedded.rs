//! The workers that are embedded in this binary, and how they are written to the disk.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name and text of each file of our Node.js worker.
const NODE: &[(&str, &str)] = &[
    ("package.json", include_str!("../../../../workers/node/package.json")),
    ("main.js", include_str!("../../../../workers/node/main.js")),
    ("worker.js", include_str!("../../../../workers/node/worker.js")),
    ("frames.js", include_str!("../../../../workers/node/frames.js")),
    ("outgoing.js", include_str!("../../../../workers/node/outgoing.js")),
    ("errors.js", include_str!("../../../../workers/node/errors.js")),
    ("core-api.js", include_str!("../../../../workers/node/core-api.js")),
    ("app.js", include_str!("../../../../workers/node/app.js")),
    ("glob.js", include_str!("../../../../workers/node/glob.js")),
    ("invoke.js", include_str!("../../../../workers/node/invoke.js")),
    ("http-stream.js", include_str!("../../../../workers/node/http-stream.js")),
    ("native-http.js", include_str!("../../../../workers/node/native-http.js")),
];

/// Writes our Node.js worker below `cache_dir`, unless it exists there already, and returns its folder.
///
/// The folder's name contains a digest of the worker, so that two versions of this binary do not overwrite each other. Existing files
/// are compared, not trusted, as their code is about to run.
pub(super) fn materialise_node(cache_dir: &Path) -> io::Result<PathBuf> {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for (name, text) in NODE {
        digest.update(name.as_bytes());
        digest.update(&[0]);
        digest.update(text.as_bytes());
        digest.update(&[0]);
    }
    let digest: String = digest.finish().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = cache_dir.join(format!("worker-node-{digest}"));
    fs::create_dir_all(&folder)?;
    restrict(&folder, 0o700)?;
    for (name, text) in NODE {
        write_if_different(&folder.join(name), text)?;
    }
    // Node resolves symbolic links of the main module; with them resolved here, paths in stacks are the same everywhere.
    folder.canonicalize()
}

/// Replaces the file atomically, as other processes may read it meanwhile.
fn write_if_different(file: &Path, text: &str) -> io::Result<()> {
    let is_regular = fs::symlink_metadata(file).is_ok_and(|metadata| metadata.is_file());
    if is_regular && fs::read(file).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    let partial = file.with_extension(format!("{}.partial", uuid::Uuid::new_v4().simple()));
    let mut out = fs::File::create_new(&partial)?;
    restrict(&partial, 0o600)?;
    out.write_all(text.as_bytes())?;
    drop(out);
    fs::rename(&partial, file)
}

#[cfg(unix)]
fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn restrict(_path: &Path, _mode: u32) -> io::Result<()> {
    // On other systems the folders of a user are private by inheritance.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modified_file_is_replaced() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let folder = materialise_node(cache.path()).expect("written");
        fs::write(folder.join("main.js"), "evil").expect("writable");
        assert_eq!(materialise_node(cache.path()).expect("written"), folder);
        let text = fs::read_to_string(folder.join("main.js")).expect("readable");
        assert_eq!(text, NODE[1].1);
        let names = fs::read_dir(&folder).expect("readable").count();
        assert_eq!(names, NODE.len(), "no partial file stays behind");
    }

    #[test]
    fn every_file_of_the_worker_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../workers/node");
        for entry in fs::read_dir(folder).expect("the worker's sources") {
            let name = entry.expect("readable").file_name().into_string().expect("plain names");
            let is_code = name.ends_with(".js");
            assert!(!is_code || NODE.iter().any(|(embedded, _)| *embedded == name), "{name} is not embedded");
        }
    }
}
