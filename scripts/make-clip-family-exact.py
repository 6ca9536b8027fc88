"""Writes fixtures/clip_family_exact.json: image features of the synthetic RN50x64 (fixtures/README.md) in f64.

In the second image one head of the attention pool gives two tokens scores of 85321.2 and 85318.3, where f32 has a grain
of 0.008: what is left of their difference is rounding. PyTorch itself differs there by up to 1.6e-3 between its own
backends, and the recorded vector is 2.6e-4 from the true one. Needs numpy; takes three minutes on two cores.
"""

import json
from pathlib import Path

import numpy as np

LAYERS, WIDTH, SIZE, EMBED_DIM, IMAGE = (3, 15, 36, 10), 128, 448, 1024, 1
FIXTURES = Path(__file__).parent.parent / "fixtures"


def uniform(name, length):
    """Values u in [0, 1) of a name: SplitMix64 seeded by FNV-1a."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    z = np.uint64(seed) + np.arange(1, length + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def tensor(name, *shape):
    """A weight of the image tower: made in f32, as the recorded ones were, then widened."""
    u = uniform("visual." + name, int(np.prod(shape)))
    f, s, leaf = np.float32, np.float32(2) * u - np.float32(1), name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        values = f(0.5) + u
    elif leaf == "running_mean":
        values = f(0.1) * s
    elif leaf == "weight" and len(shape) == 1:
        values = f(1) + f(0.1) * s
    elif leaf == "bias":
        values = f(0.02) * s
    elif leaf == "positional_embedding":
        values = f(0.04) * s
    else:
        values = f((3 / np.prod(shape[1:])) ** 0.5) * s
    return values.reshape(shape).astype(np.float64)


def image(k, size):
    noise = np.float32(2) * uniform(f"image.{k}.{size}", 3 * size * size) - np.float32(1)
    at = np.arange(size, dtype=np.float32) / np.float32(size)
    planes = zip(range(3), noise.reshape(3, size, size))
    shift = np.float32(0.25 * (k % 4))
    return np.stack([p + at * np.float32(c + 1) - at[:, None] * np.float32(2 - c) + shift for c, p in planes])


def conv(x, name, norm, out, kernel=1, stride=1):
    """A convolution and the batch normalisation after it; `x` is (channels, side, side)."""
    channels, side, _ = x.shape
    weight, y, side_out = tensor(name + ".weight", out, channels, kernel, kernel), 0, side // stride
    padded = np.pad(x, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2))
    for i in range(kernel):
        for j in range(kernel):
            seen = padded[:, i : i + side : stride, j : j + side : stride].reshape(channels, -1)
            y = y + np.ascontiguousarray(weight[:, :, i, j]) @ seen
    gain, bias, mean, variance = (tensor(f"{norm}.{leaf}", out) for leaf in ("weight", "bias", "running_mean", "running_var"))
    scale = gain / np.sqrt(variance + 1e-5)
    return (y * scale[:, None] + (bias - mean * scale)[:, None]).reshape(out, side_out, side_out)


def relu(x):
    return np.maximum(x, 0)


def pool(x):
    channels, side, _ = x.shape
    return x.reshape(channels, side // 2, 2, side // 2, 2).mean((2, 4))


def features(x):
    x = relu(conv(x, "conv1", "bn1", WIDTH // 2, 3, 2))
    x = relu(conv(x, "conv2", "bn2", WIDTH // 2, 3))
    x = pool(relu(conv(x, "conv3", "bn3", WIDTH, 3)))
    for stage, blocks in enumerate(LAYERS):
        planes = WIDTH << stage
        for i in range(blocks):
            block, halves = f"layer{stage + 1}.{i}.", stage > 0 and i == 0
            h = relu(conv(x, block + "conv1", block + "bn1", planes))
            h = relu(conv(h, block + "conv2", block + "bn2", planes, 3))
            h = conv(pool(h) if halves else h, block + "conv3", block + "bn3", 4 * planes)
            if i == 0:
                x = conv(pool(x) if halves else x, block + "downsample.0", block + "downsample.1", 4 * planes)
            x = relu(h + x)
    width = len(x)
    tokens = x.reshape(width, -1).T
    tokens = np.concatenate([tokens.mean(0, keepdims=True), tokens])
    tokens += tensor("attnpool.positional_embedding", *tokens.shape)

    def linear(x, leaf, out=width):
        return x @ tensor(f"attnpool.{leaf}_proj.weight", out, width).T + tensor(f"attnpool.{leaf}_proj.bias", out)

    q, k, v = (linear(rows, leaf).reshape(len(rows), -1, 64) for rows, leaf in ((tokens[:1], "q"), (tokens, "k"), (tokens, "v")))
    scores = np.einsum("hc,thc->ht", q[0], k) / 8
    weights = np.exp(scores - scores.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    return linear(np.einsum("ht,thc->hc", weights, v).reshape(width), "c", EMBED_DIM)


exact = {"RN50x64": {"image_features": {str(IMAGE): features(image(IMAGE, SIZE).astype(np.float64)).tolist()}}}
(FIXTURES / "clip_family_exact.json").write_text(json.dumps(exact) + "\n")
