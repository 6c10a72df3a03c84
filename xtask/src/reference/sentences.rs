//! What a doc comment says of an option by a sentence of its own.

/// Whether the value must not be shown: the comment says `A secret.`, or `A secret, because ...`
pub(super) fn is_secret(meaning: &str) -> bool {
    meaning.contains("A secret.") || meaning.contains("A secret, ")
}

/// Whether a change applies while the process runs: the comment says `Reloads.`
pub(super) fn reloads(meaning: &str) -> bool {
    meaning.contains("Reloads.")
}
