//! state-embedded
