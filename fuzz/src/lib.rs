//! What the fuzz targets share: pieces of a stream, memory that is counted, and second readings, the plainest ones, of
//! the frames of RFC 6455 and of MessagePack.
//!
//! A target states properties, not only that nothing panics: the same messages however a stream is cut, what is written reads
//! back as what it was, and memory in proportion to what came. Inputs begin with a few bytes of settings, so that the fuzzer chooses
//! them too.

pub mod hub;
pub mod memory;
pub mod pieces;
pub mod plain_messagepack;
pub mod plain_websocket;
