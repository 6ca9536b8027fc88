"""The original's training step in PyTorch, stated anew: CoOp and CoCoOp as their papers and fixtures/traj have them, fp32.

Every class is a prompt of 77 rows; CoCoOp's images go through the text tower one after another; both towers are frozen and only
what is learned has a gradient. `check` repeats fixtures/traj. `steps THREADS MODEL.safetensors` runs one step of the case that
a line of JSON names, `views THREADS FOLDER` one pass over a folder's images; both answer a line with {"ms": ..., "bytes": ...}.
"""

import json
import struct
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]
CONTEXT = 77
LIMIT = 2e-4  # as crates/core/tests/parity has it

class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """Rows are (length, batch, width), as in the original."""

    def __init__(self, width, mask):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        layers = {"c_fc": nn.Linear(width, 4 * width), "gelu": QuickGELU(), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential()
        for name, layer in layers.items():
            self.mlp.add_module(name, layer)
        self.mask = mask

    def forward(self, x):
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, need_weights=False, attn_mask=self.mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width, layers, mask=None):
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(width, mask) for _ in range(layers)))

    def forward(self, x):
        return self.resblocks(x.transpose(0, 1)).transpose(0, 1)


class Vision(nn.Module):
    def __init__(self, size, patch, width, layers, embed_dim):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty((size // patch) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, layers)
        self.proj = nn.Parameter(torch.empty(width, embed_dim))

    def forward(self, pixels):
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


def load(tensors):
    """A CLIP of these tensors, which it holds as they are, frozen."""
    with torch.device("meta"):
        clip = Clip(tensors)
    clip.load_state_dict(tensors, assign=True)
    return clip.requires_grad_(False).eval()


class Clip(nn.Module):
    """Both towers; parameters have the names of OpenAI's files, whose tensors say the shape of everything."""

    def __init__(self, tensors):
        super().__init__()
        shape = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        layers = {name: sum(f"{name}.resblocks.{i}.ln_1.bias" in shape for i in range(99)) for name in ("visual.transformer", "transformer")}
        width, _, patch, _ = shape["visual.conv1.weight"]
        text_width, embed_dim = shape["text_projection"]
        self.size = round((shape["visual.positional_embedding"][0] - 1) ** 0.5) * patch
        self.visual = Vision(self.size, patch, width, layers["visual.transformer"], embed_dim)
        self.token_embedding = nn.Embedding(*shape["token_embedding.weight"])
        self.positional_embedding = nn.Parameter(torch.empty(CONTEXT, text_width))
        mask = torch.full((CONTEXT, CONTEXT), float("-inf"), device="cpu").triu_(1)
        self.transformer = Transformer(text_width, layers["transformer"], mask)
        self.ln_final = nn.LayerNorm(text_width)
        self.text_projection = nn.Parameter(torch.empty(text_width, embed_dim))
        self.logit_scale = nn.Parameter(torch.empty(()))

    def image_features(self, pixels):
        features = self.visual(pixels)
        return features / features.norm(dim=-1, keepdim=True)

    def text_features(self, prompts, eot):
        x = self.ln_final(self.transformer(prompts + self.positional_embedding))
        features = x[torch.arange(len(x)), eot] @ self.text_projection
        return features / features.norm(dim=-1, keepdim=True)


class Prompts(nn.Module):
    """What is learned: ctx, and CoCoOp's Meta-Net; and the class names' embeddings around it."""

    def __init__(self, clip, ids, n_ctx, conditional, position="end", csc=False, name_lengths=()):
        """`ids` are the tokens of each class's text, in which `n_ctx` words stand for what is learned."""
        super().__init__()
        tokens = torch.tensor([[49406, *row, 49407] + [0] * (CONTEXT - 2 - len(row)) for row in ids])
        self.name_lengths = name_lengths
        self.eot = tokens.argmax(-1)
        self.position, self.n_ctx = position, n_ctx
        embedding = clip.token_embedding(tokens)
        self.register_buffer("start", embedding[:, :1])
        self.register_buffer("rest", embedding[:, 1 + n_ctx :])
        width, embed_dim = clip.text_projection.shape
        shape = (len(ids), n_ctx, width) if csc else (n_ctx, width)
        self.ctx = nn.Parameter(torch.randn(shape) * 0.02)
        if conditional:
            self.meta_net = nn.Sequential()
            self.meta_net.add_module("linear1", nn.Linear(embed_dim, embed_dim // 16))
            self.meta_net.add_module("relu", nn.ReLU())
            self.meta_net.add_module("linear2", nn.Linear(embed_dim // 16, width))

    def around(self, ctx):
        """(n_cls, 77, width) of ctx (n_ctx, width) or (n_cls, n_ctx, width)."""
        ctx = ctx.expand(len(self.rest), -1, -1)
        if self.position == "end":
            return torch.cat([self.start, ctx, self.rest], 1)
        half = self.n_ctx // 2 if self.position == "middle" else 0
        rows = []
        for start, c, rest, n in zip(self.start, ctx, self.rest, self.name_lengths):
            rows.append(torch.cat([start, c[:half], rest[:n], c[half:], rest[n:]]))
        return torch.stack(rows)

    def logits(self, clip, image_features):
        scale = clip.logit_scale.exp()
        if not hasattr(self, "meta_net"):
            return scale * image_features @ clip.text_features(self.around(self.ctx), self.eot).t()
        shifts = self.meta_net(image_features)
        rows = []
        for features, shift in zip(image_features, shifts):
            text = clip.text_features(self.around(self.ctx + shift), self.eot)
            rows.append(scale * features @ text.t())
        return torch.stack(rows)


class Training:
    """Prompts and their optimiser; one call is one step."""

    def __init__(self, clip, prompts, lr=0.002):
        self.clip, self.prompts = clip, prompts
        self.optimizer = torch.optim.SGD(prompts.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)

    def step(self, image_features, labels):
        loss = F.cross_entropy(self.prompts.logits(self.clip, image_features), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def read_safetensors(path):
    data = np.fromfile(path, dtype=np.uint8)
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    header = json.loads(data[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        first, last = (8 + length + offset for offset in entry["data_offsets"])
        assert entry["dtype"] == "F32", name
        tensors[name] = torch.from_numpy(data[first:last].view(np.float32).reshape(entry["shape"]))
    return tensors


# The synthetic tensors of fixtures/README.md.


def signed(name, shape):
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    z = np.uint64(seed) + np.arange(1, 1 + int(np.prod(shape)), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    u = (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    return (np.float32(2) * u - np.float32(1)).reshape(shape)


def synthetic(name, shape):
    leaf = name.split(".")[-1]
    if name == "logit_scale":
        return torch.tensor(np.float32(np.log(100)))
    s = signed(name, shape)
    if len(shape) == 1 and leaf == "weight":
        return torch.from_numpy(np.float32(1) + np.float32(0.1) * s)
    if leaf in ("bias", "in_proj_bias"):
        scale = 0.02
    elif leaf in ("class_embedding", "positional_embedding") or name == "token_embedding.weight":
        scale = 0.04
    else:
        fan = shape[0] if leaf in ("proj", "text_projection") else np.prod(shape[1:])
        scale = (3 / fan) ** 0.5
    return torch.from_numpy(np.float32(scale) * s)


def tiny_vit():
    """embed 64, 32 x 32, patches of 8, three blocks of width 128 in both towers."""
    shapes = {
        "logit_scale": (),
        "visual.conv1.weight": (128, 3, 8, 8),
        "visual.class_embedding": (128,),
        "visual.positional_embedding": (17, 128),
        "visual.proj": (128, 64),
        "token_embedding.weight": (49408, 128),
        "positional_embedding": (CONTEXT, 128),
        "text_projection": (128, 64),
    }
    norms = ["visual.ln_pre", "visual.ln_post", "ln_final"]
    for block in (f"{tower}.resblocks.{i}" for tower in ("visual.transformer", "transformer") for i in range(3)):
        norms += [f"{block}.ln_1", f"{block}.ln_2"]
        for leaf, out, inputs in [("attn.in_proj_", 384, 128), ("attn.out_proj.", 128, 128), ("mlp.c_fc.", 512, 128), ("mlp.c_proj.", 128, 512)]:
            shapes[f"{block}.{leaf}weight"] = (out, inputs)
            shapes[f"{block}.{leaf}bias"] = (out,)
    for norm in norms:
        shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (128,)
    return load({name: synthetic(name, shape) for name, shape in shapes.items()})


def image(k, size):
    c, y, x = np.meshgrid(*map(np.arange, (3, size, size)), indexing="ij")
    c, y, x = (axis.astype(np.float32) for axis in (c, y, x))
    r = np.float32(size)
    return torch.from_numpy(signed(f"image.{k}.{size}", (3, size, size)) + (x / r) * (c + 1) - (y / r) * (2 - c) + np.float32(0.25 * (k % 4)))


def error(ours, theirs):
    """The largest difference, relative to the largest magnitude of `theirs`; as the parity tests have it."""
    ours, theirs = ours.double(), theirs.double()
    largest, worst = theirs.abs().max(), (ours - theirs).abs().max()
    return float(worst / largest if largest > 0 else ours.abs().max())


def check_case(clip, tokenizer, path):
    run, tensors = json.loads(path.read_text()), read_safetensors(path.with_suffix(".safetensors"))
    options, init = run["options"], {n[5:]: t for n, t in tensors.items() if n.startswith("init.")}
    n_ctx = init["ctx"].shape[-2]
    names = [name.replace("_", " ") for name in run["class_names"]]
    prefix = options["CTX_INIT"] or " ".join(["X"] * n_ctx)
    prompts = Prompts(
        clip,
        [tokenizer.encode(f"{prefix} {name}.") for name in names],
        n_ctx,
        run["trainer"] == "COCOOP",
        options.get("CLASS_TOKEN_POSITION", "end"),
        options.get("CSC", False),
        [len(tokenizer.encode(name)) for name in names],
    )
    with torch.no_grad():
        for name, parameter in prompts.named_parameters():
            parameter.copy_(init[name])
    training = Training(clip, prompts)
    features = lambda indices: clip.image_features(torch.stack([image(k, clip.size) for k in indices]))
    worst = 0
    for i, (indices, labels, lr, loss) in enumerate(zip(run["image_index"], run["labels"], run["lrs"], run["losses"])):
        training.optimizer.param_groups[0]["lr"] = lr
        worst = max(worst, abs(training.step(features(indices), torch.tensor(labels)) - loss) / abs(loss))
        if i == 0:
            worst = max(worst, *(error(p.grad, tensors[f"grad0.{n}"]) for n, p in prompts.named_parameters()))
    worst = max(worst, *(error(p.detach(), tensors[f"final.{n}"]) for n, p in prompts.named_parameters()))
    with torch.no_grad():
        worst = max(worst, error(prompts.logits(clip, features(run["image_index"][0])), tensors["final.logits"]))
    return worst


def check():
    """Repeats the runs of fixtures/traj that are on a vision transformer; says how far off the worst of each is."""
    from open_clip.tokenizer import SimpleTokenizer

    torch.set_num_threads(1)  # what is tiny is slower on two
    clip, tokenizer = tiny_vit(), SimpleTokenizer()
    paths = sorted((ROOT / "fixtures/traj").glob("*.json"))
    cases = {path.stem: check_case(clip, tokenizer, path) for path in paths if json.loads(path.read_text())["model"] == "tiny-vit"}
    return {"check": cases, "limit": LIMIT, "ok": bool(cases) and all(worst <= LIMIT for worst in cases.values())}


def make(clip, case):
    """The function that runs one step of `case` {ids, n_ctx, conditional, batch, encode}."""
    prompts = Prompts(clip, case["ids"], case["n_ctx"], case["conditional"])
    training = Training(clip, prompts)
    pixels = torch.randn(case["batch"], 3, clip.size, clip.size)
    labels = torch.arange(case["batch"]) % len(case["ids"])
    if case["encode"]:
        return lambda: training.step(clip.image_features(pixels), labels)
    features = F.normalize(torch.randn(case["batch"], clip.text_projection.shape[1]), dim=-1)
    return lambda: training.step(features, labels)


def views(threads, folder):
    """The function that makes one view of each image of a folder, as the original's loader does: torchvision's transforms in its
    order, `threads` processes at work."""
    from PIL import Image
    from torchvision import transforms

    view = transforms.Compose([
        transforms.RandomResizedCrop(224, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    ])
    paths = sorted(Path(folder).iterdir())

    class Photos(torch.utils.data.Dataset):
        def __len__(self):
            return len(paths)

        def __getitem__(self, i):
            return view(Image.open(paths[i]).convert("RGB"))

    loader = torch.utils.data.DataLoader(Photos(), batch_size=32, shuffle=True, num_workers=int(threads), persistent_workers=True)
    return lambda _: sum(len(batch) for batch in loader)


def steps(threads, model):
    """The function that runs one step of a case; it is made when it comes first."""
    torch.set_num_threads(int(threads))
    clip, made = load(read_safetensors(model)), {}

    def run(case):
        key = json.dumps(case)
        if key not in made:
            made[key] = make(clip, case)
        return made[key]()

    return run


def peak_memory():
    """Largest resident size of this process so far; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def serve(run):
    for line in sys.stdin:
        case = json.loads(line)
        start = time.perf_counter()
        run(case)
        print(json.dumps({"ms": (time.perf_counter() - start) * 1000, "bytes": peak_memory()}), flush=True)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "check":
        result = check()
        print(json.dumps(result))
        sys.exit(not result["ok"])
    serve({"steps": steps, "views": views}[what](*arguments))
