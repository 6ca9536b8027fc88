//! A model's files as one source of tensors: safetensors (one file, or shards and their index), or one `PyTorch` archive.
//! Nothing is copied when they are opened; a tensor's values are read when they are asked for.

use super::names::{Family, Recipe, is_known_buffer, recipes};
use super::safetensors::{self, Index};
use super::tensor::Tensor;
use super::{TOKEN_TABLE, Weights, torch};
use crate::model::clip::hex;
use crate::ops::Matrix;
use crate::{Error, Result};
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Unexpected tensors that an error names.
const NAMED: usize = 5;
/// Bytes of a file that are hashed before they are forgotten.
const HASHED: usize = 4 << 20;
const TOKEN_IDS: &str = "token_embedding.ids";

/// One file of a model.
pub struct Part {
    /// Its name, as an index of shards spells it.
    pub name: String,
    /// All of it; mapped, if it is large.
    pub bytes: Bytes,
    /// Is given what was read of it and will hardly be read again: a mapped file's pages need not stay in memory beside what was
    /// made of them.
    pub forget: fn(&[u8]),
}

impl Part {
    /// A file in memory.
    pub fn new(name: impl Into<String>, bytes: Bytes) -> Self {
        Self { name: name.into(), bytes, forget: |_| {} }
    }
}

/// How files hold their tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// An archive of `torch.save`.
    Torch,
    /// An archive of `torch.jit.save`: what `OpenAI` published.
    Torchscript,
}

/// The tensors of a model's files.
pub struct Files {
    /// How they are held.
    pub format: Format,
    /// Whose names they have.
    pub family: Family,
    /// By the files' own names.
    pub tensors: BTreeMap<String, Tensor>,
    recipes: BTreeMap<String, Recipe>,
    /// Without an index, in the order of their names.
    parts: Vec<Part>,
}

impl Files {
    /// Reads the headers of `parts`. A part that is a JSON object is the index of the others.
    /// # Errors
    /// [`Error::Safetensors`] or [`Error::Model`] if a file is damaged or missing.
    pub fn open(parts: Vec<Part>) -> Result<Self> {
        let bad = |why: String| Error::Model { why };
        let (mut indices, mut parts): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| part.bytes.first() == Some(&b'{'));
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        let index = indices.pop().map(|part| Index::read(&part.bytes)).transpose()?;
        if !indices.is_empty() || parts.is_empty() {
            return Err(bad("expected one file of tensors, or an index and its shards".into()));
        }
        let (format, tensors) = if parts.iter().any(|part| torch::is_torch(&part.bytes)) {
            let [part] = &parts[..] else {
                return Err(bad("a PyTorch file cannot be one of several".into()));
            };
            let torch::Torch { script, tensors, .. } = torch::read(&part.bytes)?;
            (if script { Format::Torchscript } else { Format::Torch }, tensors)
        } else {
            (Format::Safetensors, shards(&parts, index.as_ref())?)
        };
        let names = tensors.keys().map(String::as_str);
        let family = Family::of(&names);
        let recipes = recipes(family, names);
        Ok(Self { format, family, tensors, recipes, parts })
    }

    /// One safetensors or `PyTorch` file.
    /// # Errors
    /// As [`Self::open`].
    pub fn one(bytes: Bytes) -> Result<Self> {
        Self::open(vec![Part::new("", bytes)])
    }

    /// Refuses files without a config unless only `OpenAI` writes such, whose models all have QuickGELU: others' PyTorch
    /// files have the same names and may have another activation.
    /// # Errors
    /// [`Error::Model`] says what to do.
    pub fn check_config(&self, config_json: &str) -> Result<()> {
        let scalar = || self.tensors.contains_key("input_resolution");
        let openai = self.family == Family::OpenAi && (self.format != Format::Torch || scalar());
        if openai || !config_json.trim().is_empty() {
            return Ok(());
        }
        let why = "no config.json, and such files may need QuickGELU or GELU: give the model's own config.json or \
                   open_clip_config.json, or one that says {\"quick_gelu\": true} (OpenAI's weights, DFN, MetaCLIP) or \
                   {\"quick_gelu\": false} (LAION, DataComp)";
        Err(Error::Model { why: why.into() })
    }

    /// Rows of the token table.
    pub fn tokens(&self) -> usize {
        self.shape(TOKEN_TABLE).and_then(|shape| shape.first().copied()).unwrap_or(0)
    }

    /// The names, in the file, of what `expected` (`OpenAI`'s names) does not need, known buffers aside.
    pub fn unexpected<'a>(&self, expected: impl Iterator<Item = &'a str>) -> Vec<&str> {
        let expected = expected.chain([TOKEN_IDS, "logit_scale"]);
        let recipes = expected.filter_map(|name| self.recipes.get(name));
        let used = crate::set_of(recipes.flat_map(Recipe::sources));
        let names = self.tensors.keys().map(String::as_str);
        names.filter(|name| !used.contains(name) && !is_known_buffer(name)).collect()
    }

    /// Checks that the files hold the tensors `expected` (`OpenAI`'s names, shapes), in types that can be read, and
    /// nothing else but known buffers.
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`], [`Error::Dtype`]; [`Error::Model`] names the unexpected.
    pub fn check(&self, expected: &[(String, Vec<usize>)]) -> Result<()> {
        for (name, shape) in expected {
            self.sources(name, shape)?;
        }
        let extra = self.unexpected(expected.iter().map(|(name, _)| name.as_str()));
        if extra.is_empty() {
            return Ok(());
        }
        let more = match extra.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = extra[..extra.len().min(NAMED)].join(", ");
        Err(Error::Model { why: format!("tensors that no CLIP of this shape has: {names}{more}") })
    }

    /// The values of `tensor` were read.
    fn forget(&self, tensor: &Tensor) {
        let bytes = tensor.bytes();
        if let Some(part) =
            self.parts.iter().find(|part| part.bytes.as_ptr_range().contains(&bytes.as_ptr()))
        {
            (part.forget)(bytes);
        }
    }

    /// The tensors in the files that make up `name`, each of the right shape and type.
    fn sources(&self, name: &str, expected: &[usize]) -> Result<Vec<(&str, &Tensor)>> {
        let Some(recipe) = self.recipes.get(name) else {
            let recipe = self.family.recipe(name);
            let name = recipe.sources().next().unwrap_or(name).to_string();
            return Err(Error::MissingTensor { name });
        };
        let shape: Vec<usize> = match recipe {
            Recipe::Same(_) => expected.to_vec(),
            Recipe::Transposed(_) => expected.iter().rev().copied().collect(),
            Recipe::Stacked(_) => {
                expected.iter().enumerate().map(|(i, n)| if i == 0 { n / 3 } else { *n }).collect()
            }
        };
        let source = |name: &'_ str| {
            let (name, tensor) = self
                .tensors
                .get_key_value(name)
                .ok_or_else(|| Error::MissingTensor { name: name.into() })?;
            // logit_scale is a scalar in most files and has shape (1) in some.
            if tensor.shape != shape && !(shape.is_empty() && tensor.shape == [1]) {
                let (expected, got) = (shape.clone(), tensor.shape.clone());
                return Err(Error::Shape { name: name.clone(), expected, got });
            }
            tensor.check_readable(name)?;
            Ok((name.as_str(), tensor))
        };
        recipe.sources().map(source).collect()
    }
}

/// `matrix` (rows, `cols`) as (`cols`, rows).
fn transposed(matrix: &[f32], cols: usize) -> Vec<f32> {
    let rows = matrix.len() / cols.max(1);
    (0..matrix.len()).map(|i| matrix[i % rows * cols + i / rows]).collect()
}

/// The tensors of all safetensors files; if there is an index, exactly where it says.
fn shards(parts: &[Part], index: Option<&Index>) -> Result<BTreeMap<String, Tensor>> {
    let bad = |why: String| Err(Error::Model { why });
    let mut tensors = BTreeMap::new();
    let mut shard_of = BTreeMap::new();
    for part in parts {
        for (name, tensor) in safetensors::read(&part.bytes)? {
            if let Some(other) = shard_of.insert(name.clone(), &part.name) {
                return bad(format!("tensor `{name}` is in {other} and in {}", part.name));
            }
            tensors.insert(name, tensor);
        }
    }
    for (name, shard) in index.into_iter().flat_map(|index| &index.weight_map) {
        if !parts.iter().any(|part| part.name == *shard) {
            return bad(format!("the shard {shard} is missing"));
        }
        if shard_of.get(name) != Some(&shard) {
            return bad(format!("tensor `{name}` is not in {shard}, where the index has it"));
        }
    }
    Ok(tensors)
}

impl Weights for Files {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let recipe = self.recipes.get(name)?;
        let mut shape = self.tensors.get(recipe.sources().next()?)?.shape.clone();
        match recipe {
            Recipe::Same(_) => {}
            Recipe::Transposed(_) => shape.reverse(),
            Recipe::Stacked(_) => *shape.first_mut()? *= 3,
        }
        Some(shape)
    }

    fn get(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>> {
        let sources = self.sources(name, expected)?;
        let mut values = Vec::new();
        for (source, tensor) in sources {
            if values.is_empty() {
                values = tensor.to_f32(source)?;
            } else {
                values.extend(tensor.to_f32(source)?);
            }
            self.forget(tensor);
        }
        if let Some(Recipe::Transposed(_)) = self.recipes.get(name) {
            values = transposed(&values, expected[0]);
        }
        Ok(values)
    }

    fn matrix(&self, name: &str, expected: &[usize], rows: Range<usize>) -> Result<Matrix> {
        let (outputs, mut values) = (rows.len(), Vec::with_capacity(rows.len()));
        let mut first = 0;
        for (source, tensor) in self.sources(name, expected)? {
            let here = first..first + tensor.shape[0];
            first = here.end;
            let (from, to) = (rows.start.max(here.start), rows.end.min(here.end));
            if from < to {
                values.extend(tensor.rows(source, from - here.start..to - here.start)?);
                self.forget(tensor);
            }
        }
        Ok(Matrix::F32 { values, outputs })
    }

    fn projection(&self, name: &str, inputs: usize, outputs: usize) -> Result<Matrix> {
        let (source, tensor) = self.sources(name, &[inputs, outputs])?[0];
        let mut values = tensor.to_f32(source)?;
        self.forget(tensor);
        if !matches!(self.recipes.get(name), Some(Recipe::Transposed(_))) {
            values = transposed(&values, outputs);
        }
        Ok(Matrix::F32 { values, outputs })
    }

    fn token_rows(&self, rows: &BTreeSet<usize>, width: usize) -> Result<Vec<f32>> {
        let held = self.tokens().max(rows.last().map_or(0, |row| row + 1));
        let (source, table) = self.sources(TOKEN_TABLE, &[held, width])?[0];
        let values = rows.iter().map(|&row| table.rows(source, row..row + 1));
        Ok(values.collect::<Result<Vec<_>>>()?.concat())
    }

    fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for (part, bytes) in
            self.parts.iter().flat_map(|part| part.bytes.chunks(HASHED).map(move |b| (part, b)))
        {
            hash.update(bytes);
            (part.forget)(bytes);
        }
        hex(&hash.finalize())
    }

    fn token_ids(&self) -> Result<Option<Vec<u32>>> {
        let Some(Recipe::Same(name)) = self.recipes.get(TOKEN_IDS) else { return Ok(None) };
        self.tensors[name].to_u32(name).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::safetensors::Dtype;
    use ::safetensors::tensor::TensorView;
    use half::f16;

    type Entry<'a> = (&'a str, Dtype, &'a [usize], Vec<u8>);

    fn file(tensors: &[Entry<'_>]) -> Bytes {
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), data).unwrap())
        });
        ::safetensors::serialize(views, None).unwrap().into()
    }

    fn odd(name: &str) -> Entry<'_> {
        (name, Dtype::F32, &[], f32s(&[0.0]))
    }

    fn part(name: &str, bytes: impl Into<Bytes>) -> Part {
        Part::new(name, bytes.into())
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn why<T>(result: Result<T>) -> String {
        result.map(drop).unwrap_err().to_string()
    }

    fn values(matrix: Matrix) -> Vec<f32> {
        match matrix {
            Matrix::F32 { values, .. } => values,
            Matrix::Packed(_) => panic!("files hold plain numbers"),
        }
    }

    fn hugging_face() -> Files {
        let q = "vision_model.encoder.layers.0.self_attn.q_proj.bias";
        let (k, v) = (q.replace("q_proj", "k_proj"), q.replace("q_proj", "v_proj"));
        let two = f16::from_f32(2.0).to_le_bytes().to_vec();
        let file = file(&[
            ("text_model.final_layer_norm.bias", Dtype::F32, &[1], f32s(&[7.0])),
            (
                "visual_projection.weight",
                Dtype::F32,
                &[2, 3],
                f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            ),
            (q, Dtype::F32, &[1], f32s(&[1.0])),
            (&k, Dtype::F16, &[1], two),
            (&v, Dtype::BF16, &[1], vec![0x40, 0x40]),
            ("vision_model.embeddings.position_ids", Dtype::I64, &[1], vec![0; 8]),
        ]);
        Files::one(file).unwrap()
    }

    #[test]
    fn hugging_face_tensors_are_turned_and_stacked() {
        let files = hugging_face();
        assert_eq!(files.family, Family::HuggingFace);
        assert!(why(files.check_config("")).contains("quick_gelu"));
        assert_eq!(files.check_config("{}"), Ok(()));
        assert_eq!(files.shape("visual.proj"), Some(vec![3, 2]));
        assert_eq!(files.get("visual.proj", &[3, 2]).unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let linear = values(files.projection("visual.proj", 3, 2).unwrap());
        assert_eq!(linear, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let bias = "visual.transformer.resblocks.0.attn.in_proj_bias";
        assert_eq!(files.shape(bias), Some(vec![3]));
        assert_eq!(files.get(bias, &[3]).unwrap(), [1.0, 2.0, 3.0]);
        assert_eq!(values(files.matrix(bias, &[3], 0..1).unwrap()), [1.0]);
        assert_eq!(values(files.matrix(bias, &[3], 1..3).unwrap()), [2.0, 3.0]);
        assert_eq!(files.get("ln_final.bias", &[1]).unwrap(), [7.0]);
    }

    #[test]
    fn wrong_missing_and_unexpected_tensors_have_the_names_of_the_file() {
        let files = hugging_face();
        let tensor = |name: &str, shape: &[usize]| (name.to_string(), shape.to_vec());
        let bias = tensor("visual.transformer.resblocks.0.attn.in_proj_bias", &[3]);
        let all = [bias, tensor("visual.proj", &[3, 2]), tensor("ln_final.bias", &[1])];
        assert_eq!(files.check(&all), Ok(()));
        let missing = files.check(&[tensor("visual.class_embedding", &[4])]);
        assert_eq!(why(missing), "tensor `vision_model.embeddings.class_embedding` is missing");
        let shape = files.check(&[tensor("visual.proj", &[3, 3])]);
        assert_eq!(
            why(shape),
            "tensor `visual_projection.weight`: expected shape [3, 3], got [2, 3]"
        );
        let extra = files.check(&all[1..]);
        let q = "vision_model.encoder.layers.0.self_attn";
        let names = format!("{q}.k_proj.bias, {q}.q_proj.bias, {q}.v_proj.bias");
        assert_eq!(why(extra), format!("model: tensors that no CLIP of this shape has: {names}"));

        let many: Vec<String> = (0..7).map(|i| format!("visual.ln_odd{i}.bias")).collect();
        let files = Files::one(file(&many.iter().map(|name| odd(name)).collect::<Vec<_>>()));
        let extra = why(files.unwrap().check(&[]));
        assert!(extra.ends_with("visual.ln_odd3.bias, visual.ln_odd4.bias and 2 more"), "{extra}");

        let double = file(&[("ln_final.weight", Dtype::F64, &[1], vec![0; 8])]);
        let double = Files::one(double).unwrap().check(&[tensor("ln_final.weight", &[1])]);
        assert_eq!(why(double), "tensor `ln_final.weight`: expected F32, F16 or BF16, got F64");
        let nan = file(&[("ln_final.bias", Dtype::F32, &[2], f32s(&[1.0, f32::NAN]))]);
        let nan = Files::one(nan).unwrap().get("ln_final.bias", &[2]);
        assert_eq!(nan, Err(Error::NotFinite { name: "ln_final.bias".into() }));
    }

    #[test]
    fn shards_are_one_model() {
        let (a, b) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
        let first = file(&[("logit_scale", Dtype::F32, &[1], f32s(&[4.0]))]);
        let second = file(&[("ln_final.bias", Dtype::F32, &[1], f32s(&[3.0]))]);
        let index = |bias: &str| {
            let json =
                format!(r#"{{"weight_map": {{"logit_scale": "{a}", "ln_final.bias": "{bias}"}}}}"#);
            part("model.safetensors.index.json", json)
        };
        let open =
            |index: Part| Files::open(vec![part(b, second.clone()), index, part(a, first.clone())]);
        let files = open(index(b)).unwrap();
        assert_eq!(files.get("logit_scale", &[]).unwrap(), [4.0]);
        assert_eq!(files.get("ln_final.bias", &[1]).unwrap(), [3.0]);
        let both = [first.clone(), second.clone()].concat();
        assert_eq!(files.sha256(), hex(&Sha256::digest(&both)));

        let elsewhere = why(open(index(a)));
        assert!(elsewhere.contains("`ln_final.bias` is not in model-00001"), "{elsewhere}");
        let missing = why(Files::open(vec![index(b), part(a, first.clone())]));
        assert_eq!(missing, format!("model: the shard {b} is missing"));
        let twice = why(Files::open(vec![part(a, first.clone()), part(b, first.clone())]));
        assert!(twice.contains("`logit_scale` is in"), "{twice}");
        for parts in [vec![], vec![index(b)], vec![index(a), index(b), part(a, first.clone())]] {
            assert!(why(Files::open(parts)).contains("expected one file of tensors"));
        }
        let broken = why(Files::open(vec![part("i", "{}"), part(a, first)]));
        assert!(broken.contains("index of shards"), "{broken}");
    }

    #[test]
    fn sparse_token_tables_and_wrappers_are_read() {
        let ids: Vec<u8> = [3_u32, 9].iter().flat_map(|id| id.to_le_bytes()).collect();
        let open = |dtype| {
            Files::one(file(&[
                ("module.text.token_embedding.ids", dtype, &[2], ids.clone()),
                ("module.text.token_embedding.weight", Dtype::F32, &[2, 1], f32s(&[1.0, 2.0])),
                ("module.visual.ln_pre.bias", Dtype::F32, &[1], f32s(&[5.0])),
            ]))
            .unwrap()
        };
        let files = open(Dtype::U32);
        assert_eq!(files.family, Family::CustomText);
        assert_eq!(files.token_ids(), Ok(Some(vec![3, 9])));
        assert_eq!(files.get("visual.ln_pre.bias", &[1]).unwrap(), [5.0]);
        assert_eq!(files.token_rows(&[1].into(), 1), Ok(vec![2.0]));
        assert!(files.token_rows(&[2].into(), 1).is_err());
        assert!(files.token_rows(&[0].into(), 2).is_err());
        assert!(matches!(open(Dtype::F32).token_ids(), Err(Error::Dtype { .. })));
    }

    #[test]
    fn truncated_files_are_refused_at_every_length() {
        let bytes = file(&[("ln_final.bias", Dtype::F32, &[2], f32s(&[1.0, 2.0]))]);
        for length in 0..bytes.len() {
            let cut = Files::one(bytes.slice(..length));
            assert!(matches!(cut, Err(Error::Safetensors { .. })), "{length}");
        }
        let mut lying = bytes.to_vec();
        lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Files::one(lying.into()).is_err());
    }
}
