//! The data folder: private to its owner, and complete. If a folder that was used before lacks a part, the start fails; the part is
//! not created again.

pub(crate) mod backup;
pub(crate) mod check;
mod ephemeral;
mod error;
mod manifest;
mod open;
mod part;

pub(crate) use error::{DataFolderError, of_database, of_folder, of_store};
pub(crate) use open::{OpenData, make};
pub(crate) use part::{DataPart, documents_folder, named_folder};

#[cfg(test)]
mod tests;
