//! Packs of a tiny synthetic model: what is written is read, at every precision; what is broken is refused by name.

#[path = "parity/synthetic.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod synthetic;

use bytes::Bytes;
use cocoop_core::model::block::Workspace;
use cocoop_core::model::clip::Clip;
use cocoop_core::ops::Cpu;
use cocoop_core::pack::{Aligned, Manifest, Pack, Sink, Spec, Tower, memory, write};
use cocoop_core::prompt::zero_shot;
use cocoop_core::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

static CLIP: LazyLock<Clip> =
    LazyLock::new(|| synthetic::clip(&synthetic::dims("tiny-vit").unwrap(), &"ab".repeat(32)));

/// What is done to a shard's bytes.
type Change<'a> = &'a dyn Fn(&mut Vec<u8>);

/// Shards by name.
#[derive(Default)]
struct Files {
    by_name: BTreeMap<String, Vec<u8>>,
    seen: Vec<(u64, u64)>,
    stop: bool,
}

impl Sink for Files {
    fn shard(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        assert!(self.by_name.insert(name.into(), bytes.to_vec()).is_none(), "{name} twice");
        Ok(())
    }

    fn goes_on(&mut self, bytes: u64, total: u64) -> bool {
        self.seen.push((bytes, total));
        !self.stop
    }
}

fn spec(bits: u8, towers: &[Tower]) -> Spec {
    Spec { id: "tiny".into(), bits, towers: towers.to_vec() }
}

/// The packs that most tests look at, made once.
static EIGHT: LazyLock<(Manifest, Files)> = LazyLock::new(|| packed(&CLIP, &spec(8, &BOTH)));
static FOUR: LazyLock<(Manifest, Files)> = LazyLock::new(|| packed(&CLIP, &spec(4, &BOTH)));

fn packed(clip: &Clip, spec: &Spec) -> (Manifest, Files) {
    let mut files = Files::default();
    let manifest = write(clip, spec, &mut files).unwrap();
    (manifest, files)
}

const BOTH: [Tower; 2] = [Tower::Vision, Tower::Text];

/// The pack with all that it holds in memory.
fn opened((manifest, files): &(Manifest, Files)) -> Arc<Pack> {
    let pack = Pack::open(&manifest.to_json()).unwrap();
    let shards = manifest.shards.iter().map(|shard| aligned(&files.by_name[&shard.name])).collect();
    pack.add_shards(shards).unwrap();
    Arc::new(pack)
}

fn aligned(bytes: &[u8]) -> Bytes {
    Aligned::copy(bytes).unwrap().into_bytes()
}

fn model(pack: &Arc<Pack>) -> Clip {
    Clip::load(Cpu, pack.clone(), &pack.manifest().config).unwrap()
}

fn features(clip: &Clip) -> Result<[Vec<f32>; 2]> {
    let mut work = Workspace::inference();
    let pixels: Vec<f32> = (0..2).flat_map(|k| synthetic::image(k, 32)).collect();
    let names = ["dog", "golden retriever"].map(String::from);
    let templates = ["a photo of a {}.".to_string()];
    Ok([
        clip.image_features(&mut work, &pixels)?,
        zero_shot::text_features(clip, &mut work, &names, &templates, &|| false)?,
    ])
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn features_of_a_pack_are_those_of_the_model_within_its_bits() {
    let expected = features(&CLIP).unwrap();
    let (whole, half) = (packed(&CLIP, &spec(32, &BOTH)), packed(&CLIP, &spec(16, &BOTH)));
    for (pack, least) in [(&whole, 1.0), (&half, 0.999_999), (&EIGHT, 0.999), (&FOUR, 0.97)] {
        let bits = pack.0.bits;
        let got = features(&model(&opened(pack))).unwrap();
        for (got, expected) in got.iter().zip(&expected) {
            if bits == 32 {
                assert_eq!(got, expected);
            }
            let cosine = cosine(got, expected);
            assert!(cosine >= least - 1e-6, "{bits} bits: {cosine}");
        }
    }
}

#[test]
fn a_resnets_convolutions_are_packed_with_their_normalisations() {
    let clip = synthetic::clip(&synthetic::dims("tiny-rn").unwrap(), &"cd".repeat(32));
    let size = clip.config.image_size;
    let pixels: Vec<f32> = (0..2).flat_map(|k| synthetic::image(k, size)).collect();
    let of = |clip: &Clip| clip.image_features(&mut Workspace::inference(), &pixels).unwrap();
    let expected = of(&clip);
    for (bits, least) in [(32, 1.0), (8, 0.99), (4, 0.9)] {
        let written = packed(&clip, &spec(bits, &BOTH));
        let names: Vec<&str> = written.0.tensors.iter().map(|t| t.name.as_str()).collect();
        assert!(!names.iter().any(|name| name.contains("running_")));
        let opened = model(&opened(&written));
        assert_eq!(opened.config, clip.config);
        let cosine = cosine(&of(&opened), &expected);
        assert!(cosine >= least - 1e-6, "{bits} bits: {cosine}");
        assert_eq!(packed(&opened, &spec(bits, &BOTH)).1.by_name.len(), written.1.by_name.len());
    }
}

#[test]
fn a_bundles_model_is_the_source_whatever_the_bits() {
    let info = model(&opened(&EIGHT)).info();
    assert_eq!(info["sha256"], CLIP.sha256());
    assert_eq!(info["pack"]["bits"], 8);
    assert_eq!(info["parameters"], CLIP.info()["parameters"]);
    assert_eq!(CLIP.info().get("pack"), None);
}

#[test]
fn the_bytes_are_the_content_also_when_made_of_a_pack() {
    let first = &*FOUR;
    let again = packed(&CLIP, &spec(4, &BOTH));
    assert_eq!((first.0.to_json(), &first.1.by_name), (again.0.to_json(), &again.1.by_name));
    assert_eq!(Manifest::from_json(&first.0.to_json()).unwrap(), first.0);
    let exact = packed(&CLIP, &spec(32, &BOTH));
    let from_pack = packed(&model(&opened(&exact)), &spec(4, &BOTH));
    assert_eq!(from_pack.1.by_name, first.1.by_name);
}

#[test]
fn progress_goes_up_to_the_sum_of_the_shards_and_can_stop_the_writing() {
    let (manifest, files) = &*EIGHT;
    assert!(files.seen.is_sorted());
    let sum: u64 = manifest.shards.iter().map(|shard| shard.bytes).sum();
    assert_eq!(files.seen.last(), Some(&(sum, sum)));
    let mut stopped = Files { stop: true, ..Files::default() };
    assert_eq!(write(&CLIP, &spec(8, &BOTH), &mut stopped).unwrap_err(), Error::Cancelled);
    assert!(stopped.by_name.is_empty());
}

#[test]
fn a_pack_without_its_text_tower_sees_and_does_not_read() {
    let (manifest, files) = packed(&CLIP, &spec(8, &[Tower::Vision]));
    assert!(files.by_name.keys().all(|name| name.starts_with("vision-")));
    let pack = opened(&(manifest, files));
    let clip = model(&pack);
    let pixels = synthetic::image(0, 32);
    clip.image_features(&mut Workspace::inference(), &pixels).unwrap();
    assert_eq!(features(&clip).unwrap_err(), Error::MissingTower { tower: "text" });
    assert!(pack.wanted().towers.is_empty(), "the pack has none, so none is to be brought");
    assert_eq!(
        write(&CLIP, &spec(8, &[Tower::Tokens]), &mut Files::default()).unwrap_err().code(),
        "bad_option"
    );
    assert_eq!(
        write(&CLIP, &spec(7, &BOTH), &mut Files::default()).unwrap_err().code(),
        "bad_option"
    );
}

#[test]
fn towers_and_token_rows_are_brought_when_they_are_missed() {
    let (manifest, files) = &*FOUR;
    let pack = Arc::new(Pack::open(&manifest.to_json()).unwrap());
    let clip = model(&pack);
    let mut missed = Vec::new();
    let got = loop {
        match features(&clip) {
            Ok(features) => break features,
            Err(Error::MissingTower { tower }) => missed.push(tower),
            Err(other) => panic!("{other}"),
        }
        let wanted = pack.wanted();
        for tower in wanted.towers {
            let bytes: Vec<u8> = manifest
                .shards_of(tower)
                .flat_map(|shard| files.by_name[&shard.name].clone())
                .collect();
            pack.add_tower(tower, vec![aligned(&bytes)]).unwrap();
        }
        let shards = pack.token_shards(&wanted.rows);
        let all = manifest.shards_of(Tower::Tokens).count();
        assert!(shards.len() < all / 4, "{} of {all} shards for nine tokens", shards.len());
        for name in shards {
            pack.add_tokens(name, &files.by_name[name]).unwrap();
        }
    };
    assert_eq!(missed, ["vision", "text", "tokens"]);
    assert_eq!(got, features(&model(&opened(&FOUR))).unwrap());
    assert_eq!(pack.wanted(), cocoop_core::pack::Wanted::default());
}

#[test]
fn a_shard_that_is_not_what_the_manifest_names_is_refused_by_its_name() {
    let (manifest, files) = &*EIGHT;
    let pack = Pack::open(&manifest.to_json()).unwrap();
    let with = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let shards = manifest.shards.iter().map(|shard| {
            let mut bytes = files.by_name[&shard.name].clone();
            if shard.name == name {
                change(&mut bytes);
            }
            Bytes::from(bytes)
        });
        pack.add_shards(shards.collect())
    };
    for shard in &manifest.shards {
        let changes: [Change; 4] = [
            &|bytes| bytes.truncate(bytes.len() - 1),
            &|bytes| bytes.push(0),
            &|bytes| bytes[0] ^= 1,
            &|bytes| *bytes.last_mut().unwrap() ^= 128,
        ];
        for change in changes {
            match with(&shard.name, change) {
                Err(Error::Hash { name, .. }) => assert_eq!(name, shard.name),
                other => panic!("{}: {other:?}", shard.name),
            }
        }
        let tower = pack.add_tower(shard.tower, vec![Bytes::from(vec![0; 7])]);
        assert_eq!(tower.unwrap_err().code(), "hash_mismatch");
    }
    assert_eq!(pack.add_shards(Vec::new()).unwrap_err().code(), "bad_option");
    let unknown = Error::MissingTower { tower: "tokens" };
    assert_eq!(pack.add_tokens("vision-0.bin", &[]).unwrap_err(), unknown);
    assert_eq!(pack.add_tokens("tokens-0.bin", &[]).unwrap_err().code(), "hash_mismatch");
}

#[test]
fn manifests_are_refused_at_every_length_and_with_every_lie() {
    let (manifest, _) = &*FOUR;
    let json = manifest.to_json();
    for length in (0..json.len()).step_by(97).chain(json.len() - 100..json.len()) {
        let cut = Manifest::from_json(&json[..length]).unwrap_err();
        assert_eq!(cut.code(), "bad_pack", "{length}");
    }
    let huge = format!("{json}{}", " ".repeat(5 << 20));
    assert_eq!(Manifest::from_json(&huge).unwrap_err().code(), "bad_pack");
    let value: Value = serde_json::from_str(&json).unwrap();
    let layer = manifest.tensors.iter().position(|tensor| tensor.scales.is_some()).unwrap();
    let lies: Vec<(&str, Value, &str)> = vec![
        ("/format", json!("other"), "other"),
        ("/version", json!(2), "2"),
        ("/more", json!(1), "more"),
        ("/bits", json!(5), "bits"),
        ("/source_sha256", json!("abc"), "source_sha256"),
        ("/logit_scale", json!(1e99), "manifest"),
        ("/towers/vision", json!(0), "towers"),
        ("/towers/text", json!(u64::MAX), "towers"),
        ("/plain/offset", json!(1), "visual.positional_embedding"),
        ("/plain/offset", json!(0), "visual.positional_embedding"),
        ("/plain/offset", json!(-1), "manifest"),
        ("/plain/bytes", json!(4), "visual.positional_embedding"),
        ("/plain/shape", json!([1u64 << 40, 1u64 << 40]), "visual.positional_embedding"),
        ("/plain/shape", json!([0]), "visual.positional_embedding"),
        ("/plain/format", json!("q8"), "visual.positional_embedding"),
        ("/plain/tower", json!("tokens"), "visual.positional_embedding"),
        ("/plain/name", value["tensors"][0]["name"].clone(), "twice"),
        ("/shards/0/name", json!("../x"), "shard 0"),
        ("/shards/0/bytes", json!(1), "shard 0"),
        ("/shards/0/sha256", json!("ABC"), "vision-0.bin"),
        ("/shards/0/tower", json!("text"), "shard"),
    ];
    let plain =
        manifest.tensors.iter().position(|t| t.name == "visual.positional_embedding").unwrap();
    for (pointer, lie, named) in lies {
        let mut value = value.clone();
        match value.pointer_mut(&pointer.replace("/plain", &format!("/tensors/{plain}"))) {
            Some(place) => *place = lie.clone(),
            None => value[&pointer[1..]] = lie.clone(),
        }
        let error = Manifest::from_json(&value.to_string()).expect_err(pointer);
        assert_eq!(error.code(), "bad_pack", "{pointer} {lie}");
        assert!(error.to_string().contains(named), "{pointer} {lie}: {error}");
    }
    let broken_layer = [
        ("scales", json!(64)),
        ("scales", Value::Null),
        ("planes", json!(3)),
        ("planes", Value::Null),
        ("linear", json!([1, 1])),
        ("linear", json!([usize::MAX, 2])),
        ("linear", Value::Null),
        ("format", json!("u32")),
        ("format", json!("f16")),
    ];
    for (field, lie) in broken_layer {
        let mut value = value.clone();
        value["tensors"][layer][field] = lie.clone();
        let error = Manifest::from_json(&value.to_string()).expect_err(field);
        assert_eq!(error.code(), "bad_pack", "{field} {lie}");
    }
    let mut missing = value.clone();
    missing["tensors"].as_array_mut().unwrap().pop();
    assert_eq!(Manifest::from_json(&missing.to_string()).unwrap_err().code(), "bad_pack");
    let mut fewer = value;
    fewer["shards"].as_array_mut().unwrap().pop();
    assert!(Manifest::from_json(&fewer.to_string()).unwrap_err().to_string().contains("shard"));
}

#[test]
fn what_a_pack_takes_is_known_before_it_is_there() {
    let of = |(manifest, _): &(Manifest, Files)| {
        memory(&Pack::open(&manifest.to_json()).unwrap()).unwrap()
    };
    let (eight, four) = (of(&EIGHT), of(&FOUR));
    assert_eq!(eight.vision, EIGHT.0.towers.of(Tower::Vision));
    // The first of the image tower's three blocks keeps 8 bits.
    assert!(
        eight.vision as f64 > 1.3 * four.vision as f64
            && eight.text as f64 > 1.5 * four.text as f64
    );
    assert_eq!(eight.work, four.work);
}
