"""PyTorch and open_clip as peers of the engine bench. Reads one case's name a line, as JSON, runs it, answers {"ms": ...} a line.

The plain PyTorch modules are those of the original CLIP: nn.MultiheadAttention blocks over padded prompts of 77 tokens.
Weights are random: times do not depend on them.
"""

import json
import sys
import time

import open_clip
import torch
from torch import nn


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), QuickGELU(), nn.Linear(4 * width, width))

    def forward(self, x, mask):
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Vision(nn.Module):
    def __init__(self, size, patch, width, layers, embed_dim):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = nn.Parameter(torch.randn((size // patch) ** 2 + 1, width) * 0.02)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, width // 64) for _ in range(layers))
        self.proj = nn.Parameter(torch.randn(width, embed_dim) * 0.02)

    def forward(self, pixels):
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positions
        x = self.ln_pre(x)
        for block in self.blocks:
            x = block(x, None)
        return self.ln_post(x[:, 0]) @ self.proj


class Text(nn.Module):
    def __init__(self, width, layers, embed_dim):
        super().__init__()
        self.tokens = nn.Embedding(49408, width)
        self.positions = nn.Parameter(torch.randn(77, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, width // 64) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, embed_dim) * 0.02)
        self.register_buffer("mask", torch.full((77, 77), float("-inf")).triu_(1))

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions
        for block in self.blocks:
            x = block(x, self.mask)
        return self.ln_final(x)[torch.arange(len(x)), tokens.argmax(-1)] @ self.proj


def padded_prompts(n, length):
    tokens = torch.zeros(n, 77, dtype=torch.long)
    tokens[:, : length - 1] = torch.randint(1, 49000, (n, length - 1))
    tokens[:, 0], tokens[:, length - 1] = 49406, 49407
    return tokens


def make(case):
    """The function that runs `case` once."""
    library, what, *numbers = case.split(":")
    count = int(numbers[0])
    if library == "open_clip":
        model = open_clip.create_model("ViT-B-16-quickgelu").eval()
        vision, text = model.encode_image, model.encode_text
    else:
        vision = Vision(224, 16, 768, 12, 512).eval() if what == "vision-b16" else None
        text = Text(512, 12, 512).eval() if what == "text" else None
    if what == "vision-b16":
        pixels = torch.randn(count, 3, 224, 224)
        return lambda: vision(pixels)
    prompts = padded_prompts(count, 9)
    return lambda: [text(part) for part in prompts.split(100)]


torch.set_num_threads(int(sys.argv[1]))
cases = {}
with torch.inference_mode():
    for line in sys.stdin:
        name = json.loads(line)
        if name not in cases:
            cases[name] = make(name)
        start = time.perf_counter()
        cases[name]()
        print(json.dumps({"ms": (time.perf_counter() - start) * 1000}), flush=True)
