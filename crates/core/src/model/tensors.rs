//! The tensors that a CLIP of given dimensions has, by `OpenAI`'s names: what a file of weights must hold, and all that
//! it may.

use super::config::{Config, Resnet, Vision, Vit};
use super::resnet::REDUCTION;
use super::weights::TOKEN_TABLE;

/// Names and shapes, of the token table `tokens` rows. A tower without blocks is not there, nor then is their scale, which
/// one tower's files may have or not.
pub fn tensors(config: &Config, tokens: usize) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut add = |name: &str, shape: &[usize]| all.push((name.to_string(), shape.to_vec()));
    let Config { embed_dim, image_size, context_length, vision, text, .. } = config;
    if *image_size > 0 && text.layers > 0 {
        add("logit_scale", &[]);
    }
    match vision {
        Vision::Vit(Vit { layers: 0, .. }) => {}
        Vision::Vit(vit) => {
            let (width, patch) = (vit.width, vit.patch_size);
            add("visual.conv1.weight", &[width, 3, patch, patch]);
            add("visual.class_embedding", &[width]);
            add("visual.positional_embedding", &[(image_size / patch).pow(2) + 1, width]);
            add("visual.proj", &[width, *embed_dim]);
            norm(&mut add, "visual.ln_pre", width);
            norm(&mut add, "visual.ln_post", width);
            blocks(&mut add, "visual.transformer", vit.layers, width, vit.mlp);
        }
        Vision::Resnet(tower) => resnet(&mut add, tower, *image_size, *embed_dim),
    }
    if text.layers > 0 {
        add(TOKEN_TABLE, &[tokens, text.width]);
        add("positional_embedding", &[*context_length, text.width]);
        add("text_projection", &[text.width, *embed_dim]);
        norm(&mut add, "ln_final", text.width);
        blocks(&mut add, "transformer", text.layers, text.width, text.mlp);
    }
    all
}

fn norm(add: &mut impl FnMut(&str, &[usize]), name: &str, width: usize) {
    add(&format!("{name}.weight"), &[width]);
    add(&format!("{name}.bias"), &[width]);
}

fn blocks(
    add: &mut impl FnMut(&str, &[usize]),
    prefix: &str,
    layers: usize,
    width: usize,
    mlp: usize,
) {
    for i in 0..layers {
        let name = |leaf: &str| format!("{prefix}.resblocks.{i}.{leaf}");
        norm(add, &name("ln_1"), width);
        norm(add, &name("ln_2"), width);
        let mut linear = |leaf: &str, weight: &str, bias: &str, outputs: usize, inputs: usize| {
            add(&name(&format!("{leaf}{weight}")), &[outputs, inputs]);
            add(&name(&format!("{leaf}{bias}")), &[outputs]);
        };
        linear("attn.", "in_proj_weight", "in_proj_bias", 3 * width, width);
        linear("attn.out_proj.", "weight", "bias", width, width);
        linear("mlp.c_fc.", "weight", "bias", mlp, width);
        linear("mlp.c_proj.", "weight", "bias", width, mlp);
    }
}

fn resnet(
    add: &mut impl FnMut(&str, &[usize]),
    tower: &Resnet,
    image_size: usize,
    embed_dim: usize,
) {
    let mut conv = |conv: &str, bn: &str, out: usize, inputs: usize, kernel: usize| {
        add(&format!("visual.{conv}.weight"), &[out, inputs, kernel, kernel]);
        for leaf in ["weight", "bias", "running_mean", "running_var"] {
            add(&format!("visual.{bn}.{leaf}"), &[out]);
        }
    };
    let Resnet { layers, width, .. } = *tower;
    conv("conv1", "bn1", width / 2, 3, 3);
    conv("conv2", "bn2", width / 2, width / 2, 3);
    conv("conv3", "bn3", width, width / 2, 3);
    let mut channels = width;
    for (stage, blocks) in layers.into_iter().enumerate() {
        let planes = width << stage;
        for i in 0..blocks {
            let block = format!("layer{}.{i}", stage + 1);
            let name = |leaf: &str| format!("{block}.{leaf}");
            conv(&name("conv1"), &name("bn1"), planes, channels, 1);
            conv(&name("conv2"), &name("bn2"), planes, planes, 3);
            conv(&name("conv3"), &name("bn3"), 4 * planes, planes, 1);
            if i == 0 {
                conv(&name("downsample.0"), &name("downsample.1"), 4 * planes, channels, 1);
            }
            channels = 4 * planes;
        }
    }
    add("visual.attnpool.positional_embedding", &[(image_size / REDUCTION).pow(2) + 1, channels]);
    for (leaf, out) in [("q", channels), ("k", channels), ("v", channels), ("c", embed_dim)] {
        add(&format!("visual.attnpool.{leaf}_proj.weight"), &[out, channels]);
        add(&format!("visual.attnpool.{leaf}_proj.bias"), &[out]);
    }
}
