//! Generates the FunctionRpc messages from `proto/`. The compiler is protox, so no `protoc` is needed.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use protox::prost_reflect::prost_types::FileDescriptorProto;
use protox::prost_reflect::prost_types::field_descriptor_proto::Type;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_file("FunctionRpc.proto")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // For the test that compares the definition with the published one.
    fs::write(out.join("function_rpc.bin"), compiler.encode_file_descriptor_set())?;
    let mut descriptors = compiler.file_descriptor_set();
    // protox carries the comments of Google's own files along; they are not documentation of this crate.
    for file in &mut descriptors.file {
        if file.package().starts_with("google.") {
            file.source_code_info = None;
        }
    }
    share_texts(&mut descriptors.file);
    prost_build::Config::new()
        // The same message always has the same bytes.
        .btree_map(["."])
        // A slice of the frame that was received, not a copy.
        .bytes(["."])
        .compile_well_known_types()
        .include_file("messages.rs")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Makes Rust's `Bytes` of the texts of `TypedData`, in place of `String`: a document's text is then a slice of the memory that it
/// was read to, in both directions. Texts and bytes have the same encoding; the crate checks UTF-8 itself.
fn share_texts(files: &mut [FileDescriptorProto]) {
    let messages = files.iter_mut().flat_map(|file| &mut file.message_type);
    for message in messages.filter(|message| message.name() == "TypedData") {
        for field in message.field.iter_mut().filter(|field| ["string", "json"].contains(&field.name())) {
            field.set_type(Type::Bytes);
        }
    }
}
