//! Writes the ONNX graphs of a synthetic CLIP (fixtures/README.md) into a folder, for benches against other runtimes:
//! `cargo run --release -p cocoop-core --example onnx_synthetic -- MODEL FOLDER [f16]`, MODEL such as ViT-B/32.
//! It prints a JSON list of the files: `[{name, bytes}]`.

#[path = "../tests/parity/synthetic.rs"]
#[expect(dead_code, reason = "the golden cases need more of it")]
mod synthetic;

use cocoop_core::model::config::Config;
use cocoop_core::onnx::{Dtype, What, export};
use serde_json::json;
use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (model, folder, dtype) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [model, folder] => (model, Path::new(folder), Dtype::F32),
        [model, folder, "f16"] => (model, Path::new(folder), Dtype::F16),
        _ => return Err("usage: onnx_synthetic MODEL FOLDER [f16]".into()),
    };
    let dims = synthetic::dims(model).ok_or_else(|| format!("no synthetic model {model}"))?;
    let weights = synthetic::weights(&dims, "");
    let config = Config::read(&weights, "")?;
    fs::create_dir_all(folder)?;
    let mut written = Vec::new();
    for what in [What::Vision, What::Text, What::Prompt] {
        for file in export(&weights, &config, &json!({ "id": model }), what, dtype)?.files {
            let mut out = File::create(folder.join(&file.name))?;
            for part in 0..file.parts() {
                out.write_all(&file.part(part, &weights)?)?;
            }
            written.push(json!({ "name": file.name, "bytes": file.bytes }));
        }
    }
    println!("{}", json!(written));
    Ok(())
}
