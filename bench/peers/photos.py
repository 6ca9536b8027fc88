"""Writes JPEG files of 500 x 375 pixels with the spectrum of photographs (1/f noise, colours that go together): `photos.py FOLDER N`.

Quality 90 with halved chroma gives about 105 kB, as ImageNet's have; what is in them is the same in every run.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 500, 375


def noise(random):
    y, x = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None]
    frequency = np.maximum(np.hypot(x, y), 1 / WIDTH)
    spectrum = random.normal(size=frequency.shape) + 1j * random.normal(size=frequency.shape)
    field = np.fft.irfft2(spectrum / frequency**1.1, s=(HEIGHT, WIDTH))
    return (field - field.mean()) / field.std()


folder, n = Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir(parents=True)
for i in range(n):
    random = np.random.default_rng(i)
    light, warm, green = (noise(random) for _ in range(3))
    rgb = [120 + 50 * light + a * 18 * warm + b * 12 * green for a, b in ((1, -0.5), (0, 1), (-1, -0.5))]
    pixels = np.clip(np.stack(rgb, -1), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f"{i:03}.jpg", quality=90, subsampling="4:2:0")
