//! worker-protocol
