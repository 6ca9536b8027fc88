//! CLIP's `ModifiedResNet` as nodes ([`crate::model::resnet`]): batch normalisation is folded into the convolution before it.

use super::block::attention;
use super::graph::Graph;
use super::proto::Attribute;
use crate::Result;
use crate::model::config::{Config, Resnet};
use crate::model::resnet::{REDUCTION, batch_norm};

/// # Errors
/// A tensor is missing or has another shape.
pub(super) fn build(
    graph: &mut Graph,
    config: &Config,
    tower: &Resnet,
    pixels: &str,
) -> Result<String> {
    let w = tower.width;
    let stem = |leaf: usize| [format!("visual.conv{leaf}"), format!("visual.bn{leaf}")];
    let x = conv(graph, pixels, stem(1), [w / 2, 3, 3], 2)?;
    let x = relu(graph, &x);
    let x = conv(graph, &x, stem(2), [w / 2, w / 2, 3], 1)?;
    let x = relu(graph, &x);
    let x = conv(graph, &x, stem(3), [w, w / 2, 3], 1)?;
    let x = relu(graph, &x);
    let (mut x, mut channels) = (pool(graph, &x, 2), w);
    for (stage, &count) in tower.layers.iter().enumerate() {
        for i in 0..count {
            let name = format!("visual.layer{}.{i}", stage + 1);
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            x = bottleneck(graph, x, &name, [w << stage, channels], stride)?;
            channels = 4 * (w << stage);
        }
    }
    attention_pool(graph, config, tower.heads, channels, &x)
}

/// `x = relu(x + conv3(pool(relu(conv2(relu(conv1 x))))))`, the shortcut made to fit.
fn bottleneck(
    graph: &mut Graph,
    x: String,
    name: &str,
    [planes, channels]: [usize; 2],
    stride: usize,
) -> Result<String> {
    let names = |conv: &str, bn: &str| [format!("{name}.{conv}"), format!("{name}.{bn}")];
    let out = conv(graph, &x, names("conv1", "bn1"), [planes, channels, 1], 1)?;
    let out = relu(graph, &out);
    let out = conv(graph, &out, names("conv2", "bn2"), [planes, planes, 3], 1)?;
    let out = relu(graph, &out);
    let out = pool(graph, &out, stride);
    let out = conv(graph, &out, names("conv3", "bn3"), [4 * planes, planes, 1], 1)?;
    let shortcut = if stride > 1 || channels != 4 * planes {
        let pooled = pool(graph, &x, stride);
        let names = names("downsample.0", "downsample.1");
        conv(graph, &pooled, names, [4 * planes, channels, 1], 1)?
    } else {
        x
    };
    let sum = graph.op("Add", &[&out, &shortcut], &[]);
    Ok(relu(graph, &sum))
}

/// The mean of the map as the one query over all of its pixels and itself.
fn attention_pool(
    graph: &mut Graph,
    config: &Config,
    heads: usize,
    width: usize,
    x: &str,
) -> Result<String> {
    let name = |leaf: &str| format!("visual.attnpool.{leaf}");
    let rows = (config.image_size / REDUCTION).pow(2) + 1;
    let x = graph.reshape(x, &[0, width as i64, -1]);
    let x = graph.transpose(&x, &[0, 2, 1]);
    let axes = [("axes", Attribute::Ints(&[1])), ("keepdims", Attribute::Int(1))];
    let mean = graph.op("ReduceMean", &[&x], &axes);
    let x = graph.op("Concat", &[&mean, &x], &[("axis", Attribute::Int(1))]);
    let positions = graph.weight(&name("positional_embedding"), &[rows, width])?;
    let x = graph.op("Add", &[&x, &positions], &[]);
    let first = graph.ints(&[0]);
    let query = graph.op("Gather", &[&x, &first], &[("axis", Attribute::Int(1))]);
    let qkv = [
        graph.linear(&query, &name("q_proj"), [width, width])?,
        graph.linear(&x, &name("k_proj"), [width, width])?,
        graph.linear(&x, &name("v_proj"), [width, width])?,
    ];
    let pooled = attention(graph, &qkv, width, heads, None);
    let out = graph.linear(&pooled, &name("c_proj"), [config.embed_dim, width])?;
    Ok(graph.reshape(&out, &[0, config.embed_dim as i64]))
}

/// Convolution `conv` (`out`, `inputs`, `kernel`, `kernel`) with the batch normalisation `bn` after it; zeros around the map.
fn conv(
    graph: &mut Graph,
    x: &str,
    [conv, bn]: [String; 2],
    [out, inputs, kernel]: [usize; 3],
    stride: usize,
) -> Result<String> {
    let (weight_name, shape) = (format!("{conv}.weight"), vec![out, inputs, kernel, kernel]);
    graph.check(&weight_name, &shape)?;
    for leaf in ["weight", "bias", "running_mean", "running_var"] {
        graph.check(&format!("{bn}.{leaf}"), &[out])?;
    }
    let (tensor, dims, norm) = (weight_name.clone(), shape.clone(), bn.clone());
    let folded = graph.made(
        weight_name,
        shape,
        Box::new(move |weights| {
            let mut values = weights.get(&tensor, &dims)?;
            let (scale, _) = batch_norm(|name, shape| weights.get(name, shape), &norm, out)?;
            let filters = values.chunks_exact_mut(inputs * kernel * kernel);
            filters
                .zip(scale)
                .for_each(|(filter, scale)| filter.iter_mut().for_each(|x| *x *= scale));
            Ok(values)
        }),
    );
    let bias = graph.made(
        format!("{bn}.bias"),
        vec![out],
        Box::new(
            move |weights| Ok(batch_norm(|name, shape| weights.get(name, shape), &bn, out)?.1),
        ),
    );
    let attributes = [
        ("kernel_shape", Attribute::Ints(&[kernel; 2])),
        ("strides", Attribute::Ints(&[stride; 2])),
        ("pads", Attribute::Ints(&[kernel / 2; 4])),
    ];
    Ok(graph.op("Conv", &[x, &folded, &bias], &attributes))
}

fn relu(graph: &mut Graph, x: &str) -> String {
    graph.op("Relu", &[x], &[])
}

/// Means of squares of `side` pixels.
fn pool(graph: &mut Graph, x: &str, side: usize) -> String {
    if side == 1 {
        return x.into();
    }
    let square = [side; 2];
    let attributes =
        [("kernel_shape", Attribute::Ints(&square)), ("strides", Attribute::Ints(&square))];
    graph.op("AveragePool", &[x], &attributes)
}
