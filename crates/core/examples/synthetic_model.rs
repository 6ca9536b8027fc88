//! Writes a CLIP with synthetic weights (fixtures/README.md) as a model folder, for benches and memory tests:
//! `cargo run --release -p cocoop-core --example synthetic_model -- MODEL FOLDER`, MODEL such as ViT-B/32.

#[path = "../tests/parity/synthetic.rs"]
#[expect(dead_code, reason = "the golden cases need more of it")]
mod synthetic;

use cocoop_core::model::weights::Weights;
use serde_json::{Map, Value, json};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, folder] = &args[..] else {
        return Err("usage: synthetic_model MODEL FOLDER".into());
    };
    let dims = synthetic::dims(model).ok_or_else(|| format!("no synthetic model {model}"))?;
    let weights = synthetic::weights(&dims, "");
    let (mut header, mut end) = (Map::new(), 0);
    for (name, shape) in weights.shapes() {
        let start = end;
        end += shape.iter().product::<usize>() * 4;
        header.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]}),
        );
    }
    let mut header = Value::Object(header).to_string();
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    fs::create_dir_all(folder)?;
    let mut out = BufWriter::new(File::create(Path::new(folder).join("model.safetensors"))?);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for (name, shape) in weights.shapes() {
        for x in weights.get(name, shape)? {
            out.write_all(&x.to_le_bytes())?;
        }
    }
    out.flush()?;
    Ok(())
}
