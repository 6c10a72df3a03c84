//! Shared code of the fuzz targets: chunks of a stream, an allocator that counts, and second, simple parsers for the frames of RFC 6455 and
//! for MessagePack.
//!
//! A target checks properties, not only that nothing panics: the same messages for any division of the stream, a written message is read
//! back unchanged, and memory in proportion to the input. Inputs begin with a few bytes of settings, so that the fuzzer varies them too.

pub mod hub;
pub mod memory;
pub mod pieces;
pub mod plain_messagepack;
pub mod plain_websocket;
