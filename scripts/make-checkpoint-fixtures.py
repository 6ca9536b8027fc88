"""Writes fixtures/torch/coop.pth.tar-50 and cocoop.pth.tar-10: checkpoints of the originals' form, saved by torch itself.

The prompt learners stand on the synthetic `tiny-vit` (fixtures/README.md); the vectors are multiples of 1/1024, exact in f16. As
in Dassl's files, both buffers are views of one storage, and the warm-up's state holds the cosine schedule itself, with its
optimiser: objects, which torch's own `weights_only` loading refuses.
Needs torch. Usage: python3 scripts/make-checkpoint-fixtures.py
       python3 scripts/make-checkpoint-fixtures.py --read FILE   (what torch reads in a checkpoint of ours, as JSON)
"""

import json
import pathlib
import sys

import numpy as np
import torch

WIDTH, EMBED_DIM, CONTEXT = 128, 64, 77
# "dog." and "red panda." between what CLIP's tokenizer puts around them.
CLASSES = [[1929, 269, 49407], [736, 12952, 269, 49407]]
START = 49406


def token_embedding():
    """0.04 s of the name, as fixtures/README.md defines s."""
    seed = 0xCBF29CE484222325
    for byte in b"token_embedding.weight":
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    z = np.uint64(seed) + np.arange(1, 49408 * WIDTH + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    u = (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
    return torch.from_numpy((np.float32(0.04) * (np.float32(2) * u - np.float32(1))).reshape(49408, WIDTH))


def ramp(*shape):
    count = int(np.prod(shape))
    return torch.tensor([(i * 37 % 101 - 50) / 1024 for i in range(count)]).reshape(shape)


def learner(ctx, n_ctx, dtype, meta_net):
    """A module with the originals' names."""
    made = torch.nn.Module()
    made.ctx = torch.nn.Parameter(ctx.to(dtype))
    rows = [[START] + [0] * n_ctx + ids for ids in CLASSES]
    ids = torch.tensor([row + [0] * (CONTEXT - len(row)) for row in rows])
    embedding = token_embedding()[ids].to(dtype)
    made.register_buffer("token_prefix", embedding[:, :1, :])
    made.register_buffer("token_suffix", embedding[:, 1 + n_ctx :, :])
    if meta_net:
        made.meta_net = torch.nn.Module()
        for name, inputs, outputs in (("linear1", EMBED_DIM, EMBED_DIM // 16), ("linear2", EMBED_DIM // 16, WIDTH)):
            layer = torch.nn.Linear(inputs, outputs)
            layer.weight.data, layer.bias.data = ramp(outputs, inputs), ramp(outputs)
            made.meta_net.add_module(name, layer.to(dtype))
    return made


def save(path, made, epoch):
    optimizer = torch.optim.SGD(made.parameters(), lr=0.002, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, float(epoch))
    state = {name: value.clone() for name, value in made.state_dict().items() if "token" not in name}
    sum(values.sum() for values in made.parameters()).backward()
    optimizer.step()  # leaves momentum; what it moved is put back
    schedule.step()
    made.load_state_dict(state, strict=False)
    warm_up = {"successor": schedule, "warmup_epoch": 1, "cons_lr": 1e-5, "base_lrs": [0.002], "last_epoch": 1, "_last_lr": [1e-5]}
    document = {"state_dict": made.state_dict(), "epoch": epoch, "optimizer": optimizer.state_dict(), "scheduler": warm_up, "val_result": None}
    torch.save(document, path)


def read(path):
    document = torch.load(path, weights_only=True)
    states = {name: [str(values.dtype), list(values.shape), values.double().sum().item()] for name, values in document["state_dict"].items()}
    print(json.dumps({**document, "state_dict": states}))


if sys.argv[1:2] == ["--read"]:
    read(sys.argv[2])
else:
    out = pathlib.Path(__file__).parent.parent / "fixtures" / "torch"
    save(out / "coop.pth.tar-50", learner(ramp(len(CLASSES), 3, WIDTH), 3, torch.float32, False), 50)
    save(out / "cocoop.pth.tar-10", learner(ramp(4, WIDTH), 4, torch.float16, True), 10)
