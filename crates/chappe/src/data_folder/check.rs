//! `chappe check --data`: reads everything in a data folder that no process has open, and reports damage.

use std::path::{Path, PathBuf};

use super::error::DataFolderError;
use super::manifest::Manifest;
use super::part::{DataPart, documents_folder};
use http_messages::error_chain;

/// Returns the problems of the folder, one line each; empty if it is undamaged. Changes nothing.
pub(crate) fn check(folder: &Path) -> Result<Vec<String>, DataFolderError> {
    let manifest = Manifest::read(folder)?;
    let state = folder.join("state");
    let databases: Vec<_> = databases(&manifest).map(|database| folder.join(database)).collect();
    if manifest.parts().next().is_none() && !state.exists() && !databases.iter().any(|path| path.exists()) {
        return Ok(vec![format!(
            "{} is no data folder, or a new one: there is nothing in it to check",
            folder.display()
        )]);
    }
    let mut complaints = Vec::new();
    for part in manifest.parts() {
        let missing =
            part.required_files().iter().map(|witness| folder.join(witness)).find(|path| !path.exists());
        complaints.extend(missing.map(|path| {
            format!("{} is missing: the {part} of this folder are lost ({})", path.display(), part.holds())
        }));
    }
    if state.exists() {
        let found = state_embedded::verify(&state);
        complaints.extend(found.unwrap_or_else(|error| vec![error_chain(&error)]));
    }
    for database in databases.iter().filter(|database| database.exists()) {
        let found = documents::verify(database);
        complaints.extend(found.unwrap_or_else(|error| vec![error_chain(&error)]));
    }
    Ok(complaints)
}

/// The database folders of the document services in a data folder, as relative paths. The default one may exist without being
/// listed: the list was introduced later.
pub(super) fn databases(manifest: &Manifest) -> impl Iterator<Item = PathBuf> {
    let named = manifest.parts().filter_map(|part| match part {
        DataPart::Documents(Some(name)) => Some(documents_folder(Some(&name))),
        _ => None,
    });
    std::iter::once(documents_folder(None)).chain(named)
}
