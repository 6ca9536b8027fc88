//! The written files read back: whole, in order, every name defined, every value in its place. That runtimes compute from
//! them what this crate computes is tested where there is a runtime (ts/src/onnx.test.ts).

use super::graph::Graph;
use super::proto::read::{all, ints, texts};
use super::*;
use crate::bundle::{Metadata, Method, ModelId, Prompt};
use crate::prompt::template::ClassTokenPosition;
use half::f16;
use std::collections::{BTreeMap, BTreeSet};

const WIDTH: usize = 64;
const EMBED: usize = 8;

/// One block in each tower, 2 x 2 patches of 4 pixels; a sparse table of three tokens if `sparse`.
struct Tiny {
    shapes: BTreeMap<String, Vec<usize>>,
    sparse: bool,
    largest: f32,
}

impl Tiny {
    fn new(sparse: bool) -> Self {
        let rows = if sparse { 3 } else { 49408 };
        let mut shapes = BTreeMap::from(
            [
                ("logit_scale", vec![]),
                ("visual.conv1.weight", vec![WIDTH, 3, 4, 4]),
                ("visual.class_embedding", vec![WIDTH]),
                ("visual.positional_embedding", vec![5, WIDTH]),
                ("visual.proj", vec![WIDTH, EMBED]),
                ("token_embedding.weight", vec![rows, WIDTH]),
                ("positional_embedding", vec![77, WIDTH]),
                ("text_projection", vec![WIDTH, EMBED]),
            ]
            .map(|(name, shape)| (name.to_string(), shape)),
        );
        let mut norm = |name: &str| {
            for leaf in ["weight", "bias"] {
                shapes.insert(format!("{name}.{leaf}"), vec![WIDTH]);
            }
        };
        ["visual.ln_pre", "visual.ln_post", "ln_final"].into_iter().for_each(&mut norm);
        for prefix in ["visual.transformer", "transformer"] {
            let block = format!("{prefix}.resblocks.0");
            ["ln_1", "ln_2"].into_iter().for_each(|leaf| norm(&format!("{block}.{leaf}")));
        }
        for prefix in ["visual.transformer", "transformer"] {
            for (leaf, outputs, inputs) in [
                ("attn.in_proj_", 3 * WIDTH, WIDTH),
                ("attn.out_proj.", WIDTH, WIDTH),
                ("mlp.c_fc.", 4 * WIDTH, WIDTH),
                ("mlp.c_proj.", WIDTH, 4 * WIDTH),
            ] {
                let name = format!("{prefix}.resblocks.0.{leaf}");
                shapes.insert(format!("{name}weight"), vec![outputs, inputs]);
                shapes.insert(format!("{name}bias"), vec![outputs]);
            }
        }
        Self { shapes, sparse, largest: 1.0 }
    }

    fn config(&self) -> Config {
        Config::read(self, "").unwrap()
    }

    fn export(&self, what: What, dtype: Dtype) -> Result<Export> {
        export(self, &self.config(), &json!({"sha256": "ab".repeat(32)}), what, dtype)
    }
}

impl Weights for Tiny {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.shapes.get(name).cloned()
    }

    /// Value i is `largest`·i/(values), so that every value of a tensor differs.
    fn get(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>> {
        assert_eq!(self.shapes[name], expected);
        let len = expected.iter().product::<usize>();
        Ok((0..len).map(|i| self.largest * (i + 1) as f32 / len as f32).collect())
    }

    fn token_ids(&self) -> Result<Option<Vec<u32>>> {
        Ok(self.sparse.then(|| vec![5, 7, 49407]))
    }

    fn sha256(&self) -> String {
        "ab".repeat(32)
    }
}

fn bytes(file: &File, weights: &Tiny) -> Vec<u8> {
    let whole: Vec<u8> = (0..file.parts()).flat_map(|i| file.part(i, weights).unwrap()).collect();
    assert_eq!(whole.len() as u64, file.bytes, "{}", file.name);
    whole
}

/// The one file of an export.
fn single(export: &Export, weights: &Tiny) -> Vec<u8> {
    assert_eq!(export.files.len(), 1);
    bytes(&export.files[0], weights)
}

/// Name, type, dimensions and message of every initialiser.
fn initializers(model: &[u8]) -> BTreeMap<String, (u64, Vec<u64>, Vec<u8>)> {
    let graph = all(model, 7).remove(0);
    let entry = |tensor: Vec<u8>| {
        let name = texts(&tensor, 8).remove(0);
        (name, (ints(&tensor, 2)[0], ints(&tensor, 1), tensor))
    };
    all(&graph, 5).into_iter().map(entry).collect()
}

/// The `StringStringEntryProto`s in field `number`.
fn entries(message: &[u8], number: u64) -> BTreeMap<String, String> {
    let entry = |entry: Vec<u8>| (texts(&entry, 1).remove(0), texts(&entry, 2).remove(0));
    all(message, number).into_iter().map(entry).collect()
}

/// Checks everything but the values, and returns the names of inputs and outputs.
fn check(model: &[u8]) -> (Vec<String>, Vec<String>) {
    let graph = all(model, 7).remove(0);
    let names = |field| {
        all(&graph, field).iter().map(|value| texts(value, 1).remove(0)).collect::<Vec<_>>()
    };
    let (inputs, outputs) = (names(11), names(12));
    let mut defined: BTreeSet<String> = inputs.iter().cloned().collect();
    for (name, (dtype, dims, tensor)) in initializers(model) {
        let size = [(1, 4), (6, 4), (7, 8), (10, 2)].into_iter().find(|(t, _)| *t == dtype);
        let expected = dims.iter().product::<u64>() * size.expect("a type").1;
        assert_eq!(all(&tensor, 9)[0].len() as u64, expected, "{name}");
        assert!(defined.insert(name.clone()), "{name} twice");
    }
    for node in all(&graph, 1) {
        for input in texts(&node, 1) {
            assert!(defined.contains(&input), "{input} is used before it is made");
        }
        for output in texts(&node, 2) {
            assert!(defined.insert(output.clone()), "{output} twice");
        }
    }
    assert!(outputs.iter().all(|output| defined.contains(output)));
    (inputs, outputs)
}

fn bundle(method: Method) -> Bundle {
    let metadata = Metadata {
        name: "test".into(),
        method,
        classnames: vec!["dog".into(), "cat".into(), "eel".into()],
        prompt: Prompt {
            n_ctx: 0,
            ctx_init: None,
            csc: false,
            class_token_position: ClassTokenPosition::End,
            templates: vec!["a {}.".into()],
        },
        model: ModelId {
            id: "tiny".into(),
            sha256: "ab".repeat(32),
            embed_dim: EMBED,
            image_size: 8,
        },
        training: serde_json::Map::new(),
        metrics: serde_json::Map::new(),
    };
    let text_features =
        (method != Method::Cocoop).then(|| (0..3 * EMBED).map(|i| i as f32).collect());
    Bundle { metadata, learner: None, text_features, tokens: None, probe_logits: vec![] }
}

#[test]
fn every_graph_is_whole_and_named_as_documented() {
    let bundle = bundle(Method::ZeroShot);
    for (what, inputs, outputs) in [
        (What::Vision, vec!["pixel_values"], vec!["image_embeds"]),
        (What::Text, vec!["input_ids"], vec!["text_embeds", "token_embeds"]),
        (What::Prompt, vec!["inputs_embeds", "eot"], vec!["text_embeds"]),
        (What::Classifier(&bundle), vec!["pixel_values"], vec!["probs", "logits"]),
    ] {
        for (dtype, sparse) in [(Dtype::F32, false), (Dtype::F16, true)] {
            let tiny = Tiny::new(sparse);
            let model = single(&tiny.export(what, dtype).unwrap(), &tiny);
            let (found_inputs, found_outputs) = check(&model);
            assert_eq!(
                (found_inputs, found_outputs),
                (
                    inputs.iter().map(ToString::to_string).collect(),
                    outputs.iter().map(ToString::to_string).collect()
                )
            );
            assert!(entries(&model, 14).contains_key("model"));
        }
    }
}

#[test]
fn matrices_are_transposed_and_halves_are_cast() {
    let tiny = Tiny::new(true);
    let name = "visual.transformer.resblocks.0.mlp.c_fc.weight";
    let values = tiny.get(name, &[4 * WIDTH, WIDTH]).unwrap();
    let full = initializers(&single(&tiny.export(What::Vision, Dtype::F32).unwrap(), &tiny));
    let (dtype, dims, tensor) = &full[name];
    assert_eq!((*dtype, dims.as_slice()), (1, [WIDTH as u64, 4 * WIDTH as u64].as_slice()));
    let raw = &all(tensor, 9)[0];
    // (input 3, output 2) is value (output 2, input 3) of the checkpoint.
    let at = (3 * 4 * WIDTH + 2) * 4;
    assert_eq!(raw[at..at + 4], values[2 * WIDTH + 3].to_le_bytes());

    let half = initializers(&single(&tiny.export(What::Vision, Dtype::F16).unwrap(), &tiny));
    let (dtype, _, tensor) = &half[name];
    assert_eq!(*dtype, 10);
    let expected = f16::from_f32(values[2 * WIDTH + 3]).to_le_bytes();
    assert_eq!(all(tensor, 9)[0][at / 2..at / 2 + 2], expected);
    assert_eq!(half["visual.ln_pre.weight"].0, 1, "vectors stay f32");

    let large = Tiny { largest: 1e5, ..Tiny::new(true) };
    let export = large.export(What::Vision, Dtype::F16).unwrap();
    let file = &export.files[0];
    let error = (0..file.parts()).find_map(|i| file.part(i, &large).err()).unwrap();
    assert_eq!(error.code(), "bad_model");
    assert!(error.to_string().contains("`visual.conv1.weight`"), "{error}");
}

#[test]
fn a_sparse_table_has_a_row_of_zeros_for_the_other_tokens() {
    let tiny = Tiny::new(true);
    let model = initializers(&single(&tiny.export(What::Text, Dtype::F32).unwrap(), &tiny));
    let rows = &all(&model["token_embedding.rows"].2, 9)[0];
    let row = |id: usize| i32::from_le_bytes(rows[id * 4..][..4].try_into().unwrap());
    assert_eq!([5, 6, 7, 49407].map(row), [0, 3, 1, 2]);
    let (_, dims, table) = &model["token_embedding.weight"];
    assert_eq!(*dims, [4, WIDTH as u64]);
    let table = &all(table, 9)[0];
    assert!(table[3 * WIDTH * 4..].iter().all(|byte| *byte == 0));
    assert!(table[..3 * WIDTH * 4].as_chunks::<4>().0.iter().all(|x| f32::from_le_bytes(*x) > 0.0));
}

#[test]
fn what_no_protobuf_holds_stands_beside_it() {
    let tiny = Tiny::new(true);
    let inline = initializers(&single(&tiny.export(What::Vision, Dtype::F32).unwrap(), &tiny));
    let mut graph = Graph::new(&tiny, Dtype::F32);
    vision::build(&mut graph, &tiny.config()).unwrap();
    graph.max_bytes = 10_000;
    let export = graph.finish("vision_model", &[]);
    assert_eq!(export.files.len(), 2);
    assert_eq!(export.files[1].name, "vision_model.onnx_data");
    let [model, data] = [&export.files[0], &export.files[1]].map(|file| bytes(file, &tiny));
    assert!(model.len() < 40_000, "{}", model.len());
    let mut outside = 0;
    for (name, (_, _, tensor)) in initializers(&model) {
        if ints(&tensor, 14) != [1] {
            assert_eq!(all(&tensor, 9), all(&inline[&name].2, 9), "{name}");
            continue;
        }
        outside += 1;
        let place = entries(&tensor, 13);
        assert_eq!(place["location"], "vision_model.onnx_data");
        let [offset, length] = ["offset", "length"].map(|key| place[key].parse::<usize>().unwrap());
        assert_eq!(offset % 4096, 0, "{name}");
        assert_eq!(data[offset..offset + length], all(&inline[&name].2, 9)[0], "{name}");
    }
    assert!(outside > 5, "{outside}");
}

#[test]
fn a_classifier_names_its_classes_and_holds_their_features_as_columns() {
    let (tiny, bundle) = (Tiny::new(true), bundle(Method::ZeroShot));
    let model = single(&tiny.export(What::Classifier(&bundle), Dtype::F32).unwrap(), &tiny);
    let metadata = entries(&model, 14);
    assert_eq!(metadata["classnames"], r#"["dog","cat","eel"]"#);
    assert!(
        metadata["bundle"].contains("cocoop-bundle") && metadata["preprocess"].contains("mean")
    );
    let column = |(_, (_, dims, tensor)): (String, (u64, Vec<u64>, Vec<u8>))| {
        (dims == [EMBED as u64, 3]).then(|| all(&tensor, 9).remove(0))
    };
    let text = initializers(&model).into_iter().find_map(column).unwrap();
    let values: Vec<f32> =
        text.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(values[..6], [0.0, 8.0, 16.0, 1.0, 9.0, 17.0]);
}

#[test]
fn what_cannot_be_exported_is_refused_by_name() {
    let tiny = Tiny::new(true);
    let config = tiny.config();
    for (gone, what) in [
        ("visual.proj", What::Vision),
        ("visual.transformer.resblocks.0.attn.in_proj_weight", What::Vision),
        ("token_embedding.weight", What::Text),
        ("text_projection", What::Prompt),
    ] {
        let mut lacking = Tiny::new(true);
        lacking.shapes.remove(gone);
        let error = export(&lacking, &config, &Value::Null, what, Dtype::F32).err().unwrap();
        assert_eq!(error, Error::MissingTensor { name: gone.into() });
    }
    let mut misshapen = Tiny::new(true);
    misshapen.shapes.insert("visual.proj".into(), vec![EMBED, WIDTH]);
    let error = export(&misshapen, &config, &Value::Null, What::Vision, Dtype::F32).err().unwrap();
    assert_eq!(error.code(), "bad_shape");

    let conditional = bundle(Method::Cocoop);
    let refused = tiny.export(What::Classifier(&conditional), Dtype::F32).err().unwrap();
    assert_eq!(refused.code(), "bad_bundle");
    let mut other = bundle(Method::ZeroShot);
    other.metadata.model.sha256 = "cd".repeat(32);
    let refused = tiny.export(What::Classifier(&other), Dtype::F32).err().unwrap();
    assert_eq!(refused.code(), "model_mismatch");
}
