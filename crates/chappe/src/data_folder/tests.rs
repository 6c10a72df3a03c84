use std::path::Path;

use super::error::DataFolderError;
use super::open::DataFolder;
use super::*;

const IDS: [(DataPart, &str); 3] =
    [(DataPart::Journal, "1"), (DataPart::Registry, "2"), (DataPart::Documents(None), "3")];

fn ids() -> Vec<(DataPart, String)> {
    IDS.map(|(part, id)| (part, id.to_owned())).to_vec()
}

fn used() -> tempfile::TempDir {
    let parent = tempfile::tempdir().expect("a folder can be made");
    let mut folder = DataFolder::open(&parent.path().join("data"), &[]).expect("a new folder is taken");
    create_parts(&parent.path().join("data"));
    folder.note(&ids()).expect("the parts are noted");
    parent
}

fn create_parts(folder: &Path) {
    for witness in [DataPart::Journal, DataPart::Registry, DataPart::Documents(None)]
        .iter()
        .flat_map(DataPart::required_files)
    {
        let path = folder.join(witness);
        std::fs::create_dir_all(path.parent().expect("a witness has a folder"))
            .expect("a folder can be made");
        std::fs::write(path, "").expect("a file can be written");
    }
}

#[test]
fn a_used_folder_that_lacks_a_part_is_refused_until_the_loss_is_accepted() {
    for (part, missing) in [
        (DataPart::Journal, "state/journal"),
        (DataPart::Registry, "state/registry.sqlite"),
        (DataPart::Documents(None), "documents"),
    ] {
        let parent = used();
        let path = parent.path().join("data");
        DataFolder::open(&path, &[]).expect("nothing is missing");
        std::fs::rename(path.join(missing), parent.path().join("elsewhere")).expect("it can be moved");
        let error = DataFolder::open(&path, &[]).err().expect("a part is missing").to_string();
        assert!(error.contains(&format!("--accept-loss={part}")) && error.contains(part.holds()), "{error}");
        let others: Vec<DataPart> =
            [DataPart::Journal, DataPart::Registry, DataPart::Documents(None), DataPart::Keys]
                .into_iter()
                .filter(|other| *other != part)
                .collect();
        assert!(DataFolder::open(&path, &others).is_err(), "another loss was accepted");
        DataFolder::open(&path, &[part]).expect("the loss is accepted");
    }
}

#[test]
fn an_interrupted_first_start_is_not_reported_as_loss() {
    let parent = tempfile::tempdir().expect("a folder can be made");
    let path = parent.path().join("data");
    DataFolder::open(&path, &[]).expect("a new folder is taken");
    std::fs::create_dir_all(path.join("state")).expect("a folder can be made");
    DataFolder::open(&path, &[]).expect("the first start was interrupted");
}

#[test]
fn a_folder_without_a_manifest_gets_one_unless_a_part_is_missing() {
    let parent = tempfile::tempdir().expect("a folder can be made");
    let path = parent.path().join("data");
    create_parts(&path);
    let mut folder = DataFolder::open(&path, &[]).expect("all parts are there");
    folder.note(&ids()).expect("the parts are noted");
    std::fs::remove_file(path.join("manifest.json")).expect("it is there");
    std::fs::remove_dir_all(path.join("documents")).expect("it is there");
    let error = DataFolder::open(&path, &[]).err().expect("a part is missing");
    assert!(matches!(error, DataFolderError::Missing { part: DataPart::Documents(None), .. }), "{error}");
}

#[test]
fn a_part_of_another_folder_is_refused() {
    let parent = used();
    let path = parent.path().join("data");
    let other = [(DataPart::Documents(None), "9".to_owned())];
    let mut folder = DataFolder::open(&path, &[]).expect("nothing is missing");
    assert!(matches!(
        folder.note(&other),
        Err(DataFolderError::Another { part: DataPart::Documents(None), .. })
    ));
    let mut folder = DataFolder::open(&path, &[DataPart::Documents(None)]).expect("nothing is missing");
    folder.note(&other).expect("it is accepted");
    DataFolder::open(&path, &[]).expect("nothing is missing").note(&other).expect("it is the known one now");
}

#[cfg(unix)]
#[test]
fn a_folder_readable_by_others_is_restricted_or_rejected() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    let open_to_all = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("the mode can be set");
    };
    let parent = used();
    let path = parent.path().join("data");
    open_to_all(&path);
    DataFolder::open(&path, &[]).expect("a folder of ours is closed");
    assert_eq!(mode(&path), 0o700);
    // It may belong to another program, in which case closing it could remove it there.
    let foreign = tempfile::tempdir().expect("a folder can be made");
    std::fs::write(foreign.path().join("letter"), "dear").expect("a file can be written");
    open_to_all(foreign.path());
    let error = DataFolder::open(foreign.path(), &[]).err().expect("it is not ours").to_string();
    assert!(error.contains("chmod 700"), "{error}");
    assert_eq!(mode(foreign.path()), 0o755);
}
