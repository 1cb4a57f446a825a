"""Pictures that are not a fundus photo, drawn: screens, papers, plots, OCT-like scans, red discs.

Unlimited and our own, so the gate sees the shape of what people send by mistake without anybody's
photos. Each function returns uint8 RGB of shape (size, size, 3).
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Pixels = np.ndarray


def _noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Smooth noise in [0, 1]."""
    grid = Image.fromarray((rng.random((cells, cells)) * 255).astype(np.uint8))
    return np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC), np.float32) / 255


def _colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    r, g, b = (int(v) for v in rng.integers(low, high, 3))
    return r, g, b


def oct_scan(rng: np.random.Generator, size: int) -> Pixels:
    """Speckled layers bending across a dark ground, grey or false colour, sometimes two panels."""
    x = np.arange(size, dtype=np.float32)
    y = np.arange(size, dtype=np.float32)[:, None]
    bend = size * (rng.uniform(0.3, 0.6) + rng.uniform(-0.15, 0.15) * (x / size - 0.5))
    bend = bend + size * rng.uniform(-0.3, 0.3) * (x / size - rng.uniform(0.3, 0.7)) ** 2
    pit = rng.uniform(0, 0.1) * size * np.exp(-(((x / size - rng.uniform(0.3, 0.7)) / 0.08) ** 2))
    image = np.zeros((size, size), np.float32)
    offset = 0.0
    for _ in range(int(rng.integers(4, 9))):
        thick = size * rng.uniform(0.01, 0.06)
        top = bend + offset + pit * max(0.0, 1 - offset / (0.2 * size))
        image += rng.uniform(0.2, 1.0) * np.exp(-(((y - top) / thick) ** 2))
        offset += thick * rng.uniform(1.0, 2.2)
    image = image * rng.gamma(4.0, 0.25, image.shape) + rng.gamma(
        2.0, rng.uniform(0.01, 0.06), image.shape
    )
    image = np.clip(image / image.max() * rng.uniform(1.2, 2.5), 0, 1)
    if rng.random() < 0.25:
        image = 1 - image
    if rng.random() < 0.3:  # false colour
        red, green = np.clip(image * 2 - 0.6, 0, 1), np.clip(1 - np.abs(image * 2 - 1), 0, 1)
        rgb = np.stack([red, green, np.clip(1 - image * 2, 0, 1)], -1)
    else:
        rgb = np.repeat(image[..., None], 3, -1)
    out = (rgb * 255).astype(np.uint8)
    if rng.random() < 0.4:  # report: a panel beside an infrared-like square
        canvas = np.full_like(out, int(rng.choice([0, 255])))
        wide = int(size * rng.uniform(0.5, 0.8))
        high = int(size * rng.uniform(0.4, 0.8))
        panel = np.asarray(Image.fromarray(out).resize((wide, high)))
        canvas[(size - high) // 2 : (size - high) // 2 + high, size - wide :] = panel
        rest = size - wide
        canvas[(size - rest) // 2 : (size - rest) // 2 + rest, :rest] = (
            _noise(rng, rest, 12)[..., None] * 140
        ).astype(np.uint8)
        out = canvas
    return out


def document(rng: np.random.Generator, size: int) -> Pixels:
    """Paper with lines of "text", tables and stamps, photographed at an angle."""
    paper = _colour(rng, 200, 256)
    image = Image.new("RGB", (size, size), paper)
    draw = ImageDraw.Draw(image)
    ink = _colour(rng, 0, 90)
    y = int(size * 0.05)
    while y < size * 0.95:
        height = int(rng.integers(max(3, size // 90), max(6, size // 30)))
        x = int(size * rng.uniform(0.04, 0.15))
        while x < size * rng.uniform(0.6, 0.97):
            wide = int(rng.integers(height, height * 6))
            right = max(x, min(x + wide, size - 4))  # a word may begin at the very edge
            draw.rectangle((x, y, right, y + height), fill=ink)
            x += wide + height
        y += int(height * rng.uniform(1.6, 4))
    if rng.random() < 0.3:
        r = size * rng.uniform(0.06, 0.15)
        cx, cy = rng.uniform(0.3, 0.8, 2) * size
        draw.ellipse(
            (cx - r, cy - r, cx + r, cy + r), outline=(200, 30, 30), width=max(2, size // 80)
        )
    return np.asarray(image.rotate(float(rng.normal(0, 8)), fillcolor=_colour(rng, 0, 150)))


def chat(rng: np.random.Generator, size: int) -> Pixels:
    """A messenger's screen: bubbles, avatars, a bar on top."""
    dark = rng.random() < 0.3
    ground = _colour(rng, 10, 50) if dark else _colour(rng, 215, 250)
    image = Image.new("RGB", (size, size), ground)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size, size // 12), fill=_colour(rng))
    y = size // 10
    while y < size:
        high = int(rng.integers(size // 20, size // 5))
        wide = int(size * rng.uniform(0.2, 0.7))
        mine = rng.random() < 0.5
        x = size - wide - size // 8 if mine else size // 8
        fill = (149, 236, 105) if mine else ((60, 60, 60) if dark else (255, 255, 255))
        draw.rounded_rectangle((x, y, x + wide, y + high), size // 50, fill=fill)
        for line in range(y + size // 60, y + high - size // 60, size // 32):
            end = x + int(wide * rng.uniform(0.3, 0.95))
            draw.line((x + 8, line, end, line), fill=(40, 40, 40), width=max(1, size // 110))
        side = size // 11
        avatar = size - side - 4 if mine else 4
        draw.rectangle((avatar, y, avatar + side, y + side), fill=_colour(rng))
        y += high + size // 30
    return np.asarray(image)


def plot(rng: np.random.Generator, size: int) -> Pixels:
    """A chart or a visual-field print."""
    image = Image.new("RGB", (size, size), _colour(rng, 225, 256))
    draw = ImageDraw.Draw(image)
    draw.line(
        (size * 0.1, size * 0.05, size * 0.1, size * 0.9, size * 0.95, size * 0.9), fill=0, width=2
    )
    for _ in range(int(rng.integers(1, 5))):
        xs = np.linspace(size * 0.1, size * 0.95, 40)
        ys = size * (0.5 + 0.3 * np.sin(xs / size * rng.uniform(2, 20) + rng.uniform(0, 6)))
        points = [(float(a), float(b)) for a, b in zip(xs, ys, strict=True)]
        draw.line(points, fill=_colour(rng, 0, 200), width=int(rng.integers(1, 5)))
    if rng.random() < 0.4:  # grey-scale visual field: blocks in a circle
        step = size // 16
        for gx in range(step, size, step):
            for gy in range(step, size, step):
                if (gx - size / 2) ** 2 + (gy - size / 2) ** 2 < (size * 0.42) ** 2:
                    shade = int(rng.integers(40, 250))
                    draw.rectangle((gx, gy, gx + step - 2, gy + step - 2), fill=(shade,) * 3)
    return np.asarray(image)


def red_disc(rng: np.random.Generator, size: int) -> Pixels:
    """An orange or red textured disc on black, no optic disc, no vessels: fruit, lens, sun."""
    tone = np.array([rng.uniform(0.5, 1.0), rng.uniform(0.15, 0.7), rng.uniform(0.0, 0.4)])
    texture = 0.5 + 0.5 * _noise(rng, size, int(rng.integers(2, 40)))
    return np.clip(disc_mask(rng, (texture[..., None] * tone * 255)), 0, 255).astype(np.uint8)


def outer_eye(rng: np.random.Generator, size: int) -> Pixels:
    """An eye from outside: skin, white sclera, iris, pupil, a light spot."""
    skin = np.array([rng.uniform(150, 240), rng.uniform(110, 190), rng.uniform(90, 170)])
    base = (skin * (0.8 + 0.3 * _noise(rng, size, 8)[..., None])).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(base)
    draw = ImageDraw.Draw(image)
    cx, cy = rng.uniform(0.4, 0.6, 2) * size
    wide, high = rng.uniform(0.3, 0.55) * size, rng.uniform(0.12, 0.35) * size
    white = tuple(
        int(v) for v in (rng.uniform(200, 250), rng.uniform(140, 240), rng.uniform(140, 235))
    )
    draw.ellipse((cx - wide, cy - high, cx + wide, cy + high), fill=white)
    for _ in range(int(rng.integers(0, 30))):  # red veins
        a = rng.uniform(0, 6.28)
        x, y = cx + wide * np.cos(a) * 0.9, cy + high * np.sin(a) * 0.9
        draw.line((x, y, (x + cx) / 2, (y + cy) / 2), fill=(200, 60, 60), width=1)
    r = high * rng.uniform(0.6, 1.05)
    iris = (int(rng.integers(20, 130)), int(rng.integers(20, 130)), int(rng.integers(10, 150)))
    draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=iris)
    p = r * rng.uniform(0.25, 0.6)
    draw.ellipse((cx - p, cy - p, cx + p, cy + p), fill=(8, 6, 6))
    draw.ellipse((cx - p, cy - p, cx - p * 0.5, cy - p * 0.5), fill=(250, 250, 250))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 3))))


def plain(rng: np.random.Generator, size: int) -> Pixels:
    """One colour, a gradient or noise: a covered lens, a wall, a broken camera."""
    first, second = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
    ramp = _noise(rng, size, int(rng.integers(2, 6)))[..., None]
    image = first + (second - first) * ramp * (rng.random() < 0.7)
    return (
        (image + rng.normal(0, rng.uniform(0, 30), (size, size, 3))).clip(0, 255).astype(np.uint8)
    )


def disc_mask(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """Put a picture under a camera-like black circular mask."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width]
    radius = min(height, width) * rng.uniform(0.42, 0.55)
    inside = (y - height / 2) ** 2 + (x - width / 2) ** 2 < radius**2
    return pixels * inside[..., None].astype(pixels.dtype)


KINDS = (oct_scan, document, chat, plot, red_disc, outer_eye, plain)


def draw(rng: np.random.Generator, size: int) -> Pixels:
    """Draw one picture of a random kind."""
    return KINDS[int(rng.integers(len(KINDS)))](rng, size)
