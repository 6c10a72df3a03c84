//! What a doc comment states about an option in a sentence of its own.

/// Whether the value must not be shown: the comment contains `A secret.`, or `A secret, because ...`
pub(super) fn is_secret(meaning: &str) -> bool {
    meaning.contains("A secret.") || meaning.contains("A secret, ")
}

/// Whether a change applies while the process runs: the comment contains `Reloads.`
pub(super) fn reloads(meaning: &str) -> bool {
    meaning.contains("Reloads.")
}
