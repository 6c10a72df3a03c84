//! Generates the FunctionRpc messages from `proto/`. The compiler is protox, so no `protoc` is needed.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

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
