//! Compiles the .proto files with protox, a protobuf compiler in Rust: no `protoc` on the build machine.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let files = [
        "access",
        "agent",
        "enrolment",
        "fleet",
        "local",
        "policy",
        "release",
        "settings",
        "traffic",
        "trust",
    ]
    .map(|name| format!("longshore/v1/{name}.proto"));
    println!("cargo::rerun-if-changed={}", root.join("longshore").display());
    let descriptors = protox::compile(&files, [&root])?;
    tonic_prost_build::configure()
        .build_transport(false) // channels are always built with our own TLS and limits
        .codec_path("crate::codec::WireCodec")
        .bytes(".longshore.v1")
        .btree_map(".longshore.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
