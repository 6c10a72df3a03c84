//! `chappe check --data`: reads everything in a data folder that no process has open, and says what is damaged.

use std::path::Path;

use super::error::DataFolderError;
use super::manifest::Manifest;
use http_messages::error_chain;

/// Says what is wrong with the folder, each a line for people; nothing if all is sound. Changes nothing.
pub(crate) fn check(folder: &Path) -> Result<Vec<String>, DataFolderError> {
    let manifest = Manifest::read(folder)?;
    let (state, documents) = (folder.join("state"), folder.join("documents"));
    if manifest.parts().next().is_none() && !state.exists() && !documents.exists() {
        return Ok(vec![format!(
            "{} is no data folder, or a new one: there is nothing in it to check",
            folder.display()
        )]);
    }
    let mut complaints = Vec::new();
    for part in manifest.parts() {
        let missing = part.witnesses().iter().map(|witness| folder.join(witness)).find(|path| !path.exists());
        complaints.extend(missing.map(|path| {
            format!("{} is missing: the {part} of this folder are lost ({})", path.display(), part.holds())
        }));
    }
    if state.exists() {
        let found = state_embedded::verify(&state);
        complaints.extend(found.unwrap_or_else(|error| vec![error_chain(&error)]));
    }
    if documents.exists() {
        let found = documents::verify(&documents);
        complaints.extend(found.unwrap_or_else(|error| vec![error_chain(&error)]));
    }
    Ok(complaints)
}
