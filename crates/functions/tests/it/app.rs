//! What is said about apps that cannot be loaded, and about functions that cannot run.
