//! A graph under construction: nodes by the call, weights by name. A weight's shape is checked when it is named and its
//! values are read when the file is written, one tensor at a time.

use super::proto::{self, Attribute, Dim, Message, Type};
use super::{Dtype, Export, File, Part};
use crate::model::weights::Weights;
use crate::{Error, Result};
use half::f16;

/// `LayerNorm`'s epsilon in every CLIP.
const EPSILON: f32 = 1e-5;
/// The longest protobuf that any reader accepts, bytes; beyond it the values stand in a file of their own.
const MAX_PROTOBUF: u64 = i32::MAX as u64;
/// Tensors of an external file begin at multiples of this, bytes, so that they can be mapped.
const ALIGNMENT: u64 = 4096;
/// Tensors of fewer bytes stay in the graph's file.
const MIN_EXTERNAL: u64 = 1024;
/// The version of ONNX's operators: the first with `LayerNormalization`.
const OPSET: i64 = 17;
/// The version of the file format that goes with it.
const IR_VERSION: i64 = 8;

/// Reads a tensor's values, row-major.
pub(super) type Values = Box<dyn Fn(&dyn Weights) -> Result<Vec<f32>> + Send + Sync>;

/// A constant of the graph.
struct Initializer {
    name: String,
    dims: Vec<usize>,
    dtype: Type,
    source: Source,
}

enum Source {
    Bytes(Vec<u8>),
    Weights(Values),
}

/// A graph under construction. A value of the graph is its name.
pub(super) struct Graph<'a> {
    weights: &'a dyn Weights,
    dtype: Dtype,
    nodes: Vec<Message>,
    initializers: Vec<Initializer>,
    inputs: Vec<Message>,
    outputs: Vec<Message>,
    /// What one file may hold.
    pub max_bytes: u64,
}

impl<'a> Graph<'a> {
    pub fn new(weights: &'a dyn Weights, dtype: Dtype) -> Self {
        Self {
            weights,
            dtype,
            nodes: Vec::new(),
            initializers: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            max_bytes: MAX_PROTOBUF,
        }
    }

    /// Where the weights come from.
    pub fn weights(&self) -> &'a dyn Weights {
        self.weights
    }

    pub fn input(&mut self, name: &str, dtype: Type, shape: &[Dim]) -> String {
        self.inputs.push(proto::value(name, dtype, shape));
        name.into()
    }

    /// Gives `value` to the graph's reader as output `name`.
    pub fn output(&mut self, name: &str, value: &str, dtype: Type, shape: &[Dim]) {
        self.outputs.push(proto::value(name, dtype, shape));
        let node = proto::node("Identity", name, &[value], &[name.into()], &[]);
        self.nodes.push(node);
    }

    /// A node with one output.
    pub fn op(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        let [output] = self.ops(op, inputs, attributes);
        output
    }

    /// A node with `N` outputs.
    pub fn ops<const N: usize>(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> [String; N] {
        let name = format!("{op}_{}", self.nodes.len());
        let outputs = std::array::from_fn(|i| format!("{name}.{i}"));
        self.nodes.push(proto::node(op, &name, inputs, &outputs, attributes));
        outputs
    }

    /// A constant of whole numbers, one dimension; a scalar if `scalar`.
    fn whole(&mut self, values: &[i64], scalar: bool) -> String {
        let name = format!("constant_{}", self.initializers.len());
        let dims = if scalar { vec![] } else { vec![values.len()] };
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, dims, Type::I64, bytes)
    }

    /// A constant list.
    pub fn ints(&mut self, values: &[i64]) -> String {
        self.whole(values, false)
    }

    /// A constant number.
    pub fn int(&mut self, value: i64) -> String {
        self.whole(&[value], true)
    }

    /// A constant number.
    pub fn scalar(&mut self, value: f32) -> String {
        self.floats(&[value], vec![])
    }

    /// A constant tensor.
    pub fn floats(&mut self, values: &[f32], dims: Vec<usize>) -> String {
        let name = format!("constant_{}", self.initializers.len());
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, dims, Type::F32, bytes)
    }

    fn constant(&mut self, name: String, dims: Vec<usize>, dtype: Type, bytes: Vec<u8>) -> String {
        let source = Source::Bytes(bytes);
        self.initializers.push(Initializer { name: name.clone(), dims, dtype, source });
        name
    }

    /// A constant list of `Gather` indices.
    pub fn indices(&mut self, name: &str, values: &[i32]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name.into(), vec![values.len()], Type::I32, bytes)
    }

    /// Tensor `name` of the checkpoint, whose shape there is `shape`.
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`].
    pub fn weight(&mut self, name: &str, shape: &[usize]) -> Result<String> {
        let (tensor, expected) = (name.to_string(), shape.to_vec());
        self.check(name, shape)?;
        let values: Values = Box::new(move |weights| weights.get(&tensor, &expected));
        Ok(self.made(name.into(), shape.to_vec(), values))
    }

    /// Matrix `name` (outputs, inputs) of the checkpoint as (inputs, outputs), the right side of `MatMul`.
    /// # Errors
    /// As [`Self::weight`].
    pub fn transposed(&mut self, name: &str, [outputs, inputs]: [usize; 2]) -> Result<String> {
        self.check(name, &[outputs, inputs])?;
        let tensor = name.to_string();
        let values: Values = Box::new(move |weights| {
            let values = weights.get(&tensor, &[outputs, inputs])?;
            Ok((0..outputs * inputs).map(|i| values[i % outputs * inputs + i / outputs]).collect())
        });
        Ok(self.made(name.into(), vec![inputs, outputs], values))
    }

    /// A tensor that `values` makes of the checkpoint.
    pub fn made(&mut self, name: String, dims: Vec<usize>, values: Values) -> String {
        // Vectors are few bytes, and the towers are more sensitive to them than to matrices.
        let half = self.dtype == Dtype::F16 && dims.len() > 1;
        let (dtype, source) = (if half { Type::F16 } else { Type::F32 }, Source::Weights(values));
        self.initializers.push(Initializer { name: name.clone(), dims, dtype, source });
        if half {
            self.op("Cast", &[&name], &[("to", Attribute::Int(Type::F32 as i64))])
        } else {
            name
        }
    }

    /// That tensor `name` of the checkpoint has this shape.
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`].
    pub fn check(&self, name: &str, expected: &[usize]) -> Result<()> {
        match self.weights.shape(name) {
            None => Err(Error::MissingTensor { name: name.into() }),
            Some(got) if got == expected => Ok(()),
            Some(got) => Err(Error::Shape { name: name.into(), expected: expected.to_vec(), got }),
        }
    }

    pub fn reshape(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.ints(shape);
        self.op("Reshape", &[x, &shape], &[])
    }

    pub fn transpose(&mut self, x: &str, order: &[usize]) -> String {
        self.op("Transpose", &[x], &[("perm", Attribute::Ints(order))])
    }

    /// `x` (…, inputs) through the layer `name` (outputs, inputs) with its bias.
    /// # Errors
    /// As [`Self::weight`].
    pub fn linear(&mut self, x: &str, name: &str, shape: [usize; 2]) -> Result<String> {
        self.affine(x, &format!("{name}.weight"), &format!("{name}.bias"), shape)
    }

    /// `x`·`weight`ᵀ + `bias`.
    /// # Errors
    /// As [`Self::weight`].
    pub fn affine(
        &mut self,
        x: &str,
        weight: &str,
        bias: &str,
        shape: [usize; 2],
    ) -> Result<String> {
        let weight = self.transposed(weight, shape)?;
        let bias = self.weight(bias, &[shape[0]])?;
        let product = self.op("MatMul", &[x, &weight], &[]);
        Ok(self.op("Add", &[&product, &bias], &[]))
    }

    /// `LayerNorm` of the last dimension.
    /// # Errors
    /// As [`Self::weight`].
    pub fn norm(&mut self, x: &str, name: &str, width: usize) -> Result<String> {
        let weight = self.weight(&format!("{name}.weight"), &[width])?;
        let bias = self.weight(&format!("{name}.bias"), &[width])?;
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(EPSILON))];
        Ok(self.op("LayerNormalization", &[x, &weight, &bias], &attributes))
    }

    /// The file or files of the graph. `metadata` is what a reader finds in `metadata_props`.
    pub fn finish(self, name: &str, metadata: &[(String, String)]) -> Export {
        let head = Message::default()
            .int(1, IR_VERSION)
            .bytes(2, "cocoop")
            .bytes(3, env!("CARGO_PKG_VERSION"))
            .bytes(8, Message::default().int(2, OPSET));
        let head = metadata
            .iter()
            .fold(head, |model, (key, value)| model.bytes(14, proto::entry(key, value)));
        let graph = self.nodes.iter().fold(Message::default(), |graph, node| graph.bytes(1, node));
        let graph = graph.bytes(2, name);
        let graph = self.inputs.iter().fold(graph, |graph, value| graph.bytes(11, value));
        let graph = self.outputs.iter().fold(graph, |graph, value| graph.bytes(12, value));
        let values: u64 = self.initializers.iter().map(|i| bytes(&i.dims, i.dtype) + 256).sum();
        let inline = values + (head.0.len() + graph.0.len()) as u64 <= self.max_bytes;
        layout(name, head, graph, self.initializers, inline)
    }
}

/// Lays out head, graph and values; values that `inline` is false for stand in a second file.
fn layout(
    name: &str,
    head: Message,
    graph: Message,
    initializers: Vec<Initializer>,
    inline: bool,
) -> Export {
    let (file, data) = (format!("{name}.onnx"), format!("{name}.onnx_data"));
    let (mut parts, mut data_parts) = (vec![Part::Bytes(graph.0)], Vec::new());
    let mut offset: u64 = 0;
    for initializer in initializers {
        let Initializer { name, dims, dtype, source } = initializer;
        let len = bytes(&dims, dtype);
        let mut tensor = proto::tensor(&name, dtype, &dims);
        let part = match source {
            Source::Bytes(bytes) => Part::Bytes(bytes),
            Source::Weights(values) => {
                Part::Values { name, values, half: dtype == Type::F16, bytes: len }
            }
        };
        if inline || len < MIN_EXTERNAL {
            tensor = tensor.open(9, len);
            let field = Message::default().open(5, tensor.0.len() as u64 + len);
            parts.extend([Part::Bytes([field.0, tensor.0].concat()), part]);
        } else {
            let start = offset.next_multiple_of(ALIGNMENT);
            data_parts.extend([Part::Bytes(vec![0; (start - offset) as usize]), part]);
            offset = start + len;
            let tensor = proto::external(tensor, &data, start, len);
            parts.push(Part::Bytes(Message::default().bytes(5, tensor).0));
        }
    }
    let graph_bytes = parts.iter().map(Part::bytes).sum();
    parts.insert(0, Part::Bytes(head.open(7, graph_bytes).0));
    let mut files = vec![File::new(file, parts)];
    if !data_parts.is_empty() {
        files.push(File::new(data, data_parts));
    }
    Export { files }
}

/// Bytes of a tensor's values.
fn bytes(dims: &[usize], dtype: Type) -> u64 {
    dims.iter().product::<usize>() as u64 * dtype.size() as u64
}

/// `values` as the little-endian bytes of the file.
/// # Errors
/// [`Error::Model`] if a half cannot hold a value.
pub(super) fn encode(name: &str, values: &[f32], half: bool) -> Result<Vec<u8>> {
    if !half {
        return Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect());
    }
    if let Some(value) = values.iter().find(|value| !f16::from_f32(**value).is_finite()) {
        let why = format!("tensor `{name}` holds {value}, which f16 cannot; export it as f32");
        return Err(Error::Model { why });
    }
    Ok(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect())
}
