"""Writes fixtures/images: 12-megapixel files of every kind that a decoder has to stream, interlaced PNG files, and what
Pillow's bicubic resize, centre crop and RGB make of them.

Needs Pillow 11.3. Usage: python3 scripts/make-images.py
"""

import hashlib
import json
import pathlib
import random
import struct
import zlib

from PIL import Image, ImageFilter

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"
OUT = FIXTURES / "images"
PHOTO = FIXTURES / "preprocess" / "in" / "jpeg_12mp_4032x3024.jpg"
# First column and row of each pass of Adam7, and the steps.
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def interlaced_png(width, height, color, depth):
    """A PNG of noise with the given colour type, every row with a filter of its own."""
    rng = random.Random(f"{width} {height} {color} {depth}")
    bits = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color] * depth
    pixels = [[rng.getrandbits(bits) for _ in range(width)] for _ in range(height)]
    raw = b""
    for x0, y0, dx, dy in PASSES:
        before = None
        for row in pixels[y0::dy]:
            part = row[x0::dx]
            if not part:
                continue
            n = (len(part) * bits + 7) // 8
            value = 0
            for pixel in part:
                value = value << bits | pixel
            line = (value << (n * 8 - len(part) * bits)).to_bytes(n, "big")
            filtered = line if before is None else bytes((a - b) % 256 for a, b in zip(line, before))
            raw += bytes([0 if before is None else 2]) + filtered  # 2: less the row above
            before = line

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    palette = chunk(b"PLTE", bytes(rng.getrandbits(8) for _ in range(3 << depth))) if color == 3 else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + palette + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def view(image, size):
    """CLIP's view: torchvision's Resize and CenterCrop on a Pillow image."""
    width, height = image.size
    long = int(size * max(width, height) / min(width, height))
    width, height = (size, long) if width <= height else (long, size)
    image = image.resize((width, height), Image.BICUBIC)
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return image.crop((left, top, left + size, top + size)).convert("RGB")


for folder in ("in", "expected"):
    (OUT / folder).mkdir(parents=True, exist_ok=True)
photo = Image.open(PHOTO).convert("RGB")
large = photo.resize((1000, 750)).filter(ImageFilter.GaussianBlur(4)).resize((4000, 3000), Image.BICUBIC)
small = photo.resize((321, 243))
alpha = small.convert("RGBA")
alpha.putalpha(small.convert("L").resize((100, 90)).resize(small.size))
saved = {
    "jpeg_12mp_444.jpg": (large, {"quality": 10, "subsampling": "4:4:4", "optimize": True}),
    "jpeg_12mp_progressive.jpg": (large, {"quality": 10, "subsampling": "4:4:4", "progressive": True}),
    "webp_12mp.webp": (large, {"quality": 10}),
    "jpeg_422_restart.jpg": (small, {"quality": 80, "subsampling": "4:2:2", "restart_marker_blocks": 7}),
    "jpeg_411_progressive.jpg": (small, {"quality": 80, "subsampling": "4:1:1", "progressive": True}),
    "webp_alpha.webp": (alpha, {"quality": 60}),
    "gif_interlaced.gif": (small.quantize(16), {"interlace": 1}),
}
for name, (image, options) in saved.items():
    image.save(OUT / "in" / name, **options)
for color, depth in ((0, 1), (0, 4), (0, 16), (2, 8), (3, 2), (4, 8), (6, 16)):
    for width, height in ((33, 31), (3, 2)):
        name = f"png_interlaced_{width}x{height}_{color}_{depth}.png"
        (OUT / "in" / name).write_bytes(interlaced_png(width, height, color, depth))
index = []
for path in sorted((OUT / "in").iterdir()):
    size = 224 if "12mp" in path.name else 32
    expected = f"{path.name}.{size}.png"
    view(Image.open(path), size).save(OUT / "expected" / expected, optimize=True)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    index.append({"input": path.name, "px": size, "expected": expected, "sha256": sha256})
(OUT / "index.json").write_text(json.dumps(index, indent=1) + "\n")
