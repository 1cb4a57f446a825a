"""What cameras, phones, screens and messengers do to a picture, simulated.

Every function takes a generator, so a sample depends on its number alone and a run can be repeated.
Pictures are float32 RGB in [0, 255] of shape (size, size, 3) unless said otherwise.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from training.fundus.negatives import disc_mask

Rng = np.random.Generator


def place(rng: Rng, pixels: np.ndarray, size: int, *, strong: bool = True) -> np.ndarray:
    """Letterbox a uint8 picture on a square with random zoom, turn, shift and flip."""
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    zoom, angle, shift, stretch = 1.0, 0.0, (0.0, 0.0), 1.0
    flip = rng.random() < 0.5
    if strong:
        zoom = float(np.exp(rng.normal(0, 0.09)))
        if rng.random() < 0.1:  # copies cut out inside the field: no dark surround
            zoom = float(rng.uniform(1.2, 1.5))
        angle = float(np.deg2rad(rng.uniform(-25, 25)))
        shift = (float(rng.normal(0, 0.03)) * size, float(rng.normal(0, 0.03)) * size)
        stretch = float(np.exp(rng.normal(0, 0.03)))
    # PIL wants output -> input coordinates.
    c, s = np.cos(angle) / (scale * zoom), np.sin(angle) / (scale * zoom)
    a, b, d, e = c * stretch, s, -s * stretch, c
    if flip:
        a, d = -a, -d
    ox, oy = size / 2 + shift[0], size / 2 + shift[1]
    matrix = (a, b, width / 2 - a * ox - b * oy, d, e, height / 2 - d * ox - e * oy)
    image = Image.fromarray(pixels)
    if scale < 0.7:  # PIL's transform does not smooth when it shrinks
        image = image.filter(ImageFilter.BoxBlur(0.35 / scale))
    placed = image.transform(
        (size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.asarray(placed, np.float32)


def _resize(pixels: np.ndarray, size: int) -> np.ndarray:
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), np.float32)


def _blur(pixels: np.ndarray, radius: float) -> np.ndarray:
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32)


def low_resolution(rng: Rng, pixels: np.ndarray) -> np.ndarray:
    """Shrink to what a messenger's preview or a small copy keeps, and enlarge again."""
    size = pixels.shape[0]
    return _resize(_resize(pixels, int(rng.uniform(0.3, 0.75) * size)), size)


def colour(rng: Rng, pixels: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Another sensor and flash: gains, gamma, contrast by table, then saturation."""
    gain = np.exp(rng.normal(0, strength * np.array([0.14, 0.16, 0.24])))
    gamma, contrast, saturation = np.exp(rng.normal(0, strength * np.array([0.24, 0.12, 0.24])))
    levels = np.clip(np.arange(256)[None] * gain[:, None], 0, 255) / 255
    table = np.clip(255 * contrast * levels**gamma, 0, 255).round().astype(int)
    same, other = (1 + 2 * saturation) / 3, (1 - saturation) / 3
    mix = [same if r == c else other for r in range(3) for c in (0, 1, 2)]
    rows = (*mix[0:3], 0.0, *mix[3:6], 0.0, *mix[6:9], 0.0)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).point(table.ravel().tolist())
    return np.asarray(image.convert("RGB", rows), np.float32)


def style(pixels: np.ndarray) -> np.ndarray:
    """Return mean and spread of each channel where the retina is lit, shape (2, 3)."""
    lit = pixels[::4, ::4].reshape(-1, 3).astype(np.float32)
    inside = lit[lit.max(1) > 28]
    values = inside if len(inside) > 50 else lit
    return np.stack([values.mean(0), values.std(0) + 4])


def restyle(rng: Rng, pixels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Move the colours part of the way to those of another picture, the surround staying dark."""
    amount = rng.uniform(0.4, 1.0)
    own = style(pixels)
    gain = np.clip(wanted[1] / own[1], 0.4, 2.5)
    moved = (pixels - own[0]) * gain + wanted[0]
    lit = (pixels.max(-1, keepdims=True) > 20).astype(np.float32)
    return pixels + amount * lit * (moved - pixels).astype(np.float32)


def pair(first: np.ndarray, second: np.ndarray, rng: Rng) -> np.ndarray:
    """Put two pictures side by side, now and then one above the other, on a plain ground."""
    size = first.shape[0]
    half = int(size * rng.uniform(0.42, 0.5))
    ground = 0.0 if rng.random() < 0.6 else float(rng.uniform(20, 255))
    canvas = np.full_like(first, ground)
    low = (size - half) // 2 + int(size * rng.uniform(-0.05, 0.05))
    for picture, left in ((first, 0), (second, size - half)):
        canvas[low : low + half, left : left + half] = _resize(picture, half)
    return canvas.transpose(1, 0, 2) if rng.random() < 0.15 else canvas


def shading(rng: Rng, pixels: np.ndarray) -> np.ndarray:
    """Uneven light: brighter on one side or fading to the edge."""
    size = pixels.shape[0]
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    cx, cy = rng.uniform(-0.6, 0.6, 2)
    far = (axis[None, :] - cx) ** 2 + (axis[:, None] - cy) ** 2
    return pixels * (1 - rng.uniform(0.1, 0.5) * far / 2).clip(0.15, 1.2)[..., None].astype(
        np.float32
    )


def partial_field(rng: Rng, pixels: np.ndarray) -> np.ndarray:
    """Cut top and bottom as small sensors do, or narrow the disc."""
    x = pixels.copy()
    size = x.shape[0]
    if rng.random() < 0.6:
        cut = int(size * rng.uniform(0.03, 0.14))
        x[:cut] = 0
        x[size - cut :] = 0
        return x
    return disc_mask(rng, x)


def haze(rng: Rng, pixels: np.ndarray, amount: float) -> np.ndarray:
    """Cataract-like veil: low contrast under a milky tone."""
    veil = np.array([rng.uniform(120, 200), rng.uniform(90, 160), rng.uniform(60, 140)], np.float32)
    lit = (pixels.max(-1, keepdims=True) > 20).astype(np.float32)
    return _blur(pixels, 1 + 2 * amount) * (1 - amount * lit) + veil * amount * lit


def jpeg(rng: Rng, pixels: np.ndarray, low: int = 25) -> np.ndarray:
    """Compress once more."""
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
        out, "JPEG", quality=int(rng.integers(low, 93))
    )
    return np.asarray(Image.open(out), np.float32)


def screen(rng: Rng, pixels: np.ndarray) -> np.ndarray:
    """A phone's photo of a monitor: room around it, tilt, pixel grid and moiré, cast, glare."""
    size = pixels.shape[0]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    image = pixels + rng.uniform(3, 22)  # a monitor's black glows
    # pixel grid seen through the sensor's: slow beats, sometimes coloured
    for _ in range(int(rng.integers(1, 4))):
        angle, period = rng.uniform(0, np.pi), rng.uniform(2.2, 14)
        phase = rng.uniform(0, 6.28, 3 if rng.random() < 0.6 else 1).astype(np.float32)
        bend = rng.uniform(0, 0.003) * (x - size / 2) ** 2 / size
        wave = (x * np.cos(angle) + y * np.sin(angle) + bend) * (2 * np.pi / period)
        image = image * (1 + rng.uniform(0.02, 0.13) * np.sin(wave[..., None] + phase))
    zoom = rng.uniform(0.55, 1.0)
    room = rng.uniform(5, 200, 3).astype(np.float32) * rng.uniform(0.2, 1)
    tilt = np.deg2rad(rng.normal(0, 5))
    persp = rng.normal(0, 0.00025, 2)
    c, s = np.cos(tilt) / zoom, np.sin(tilt) / zoom
    centre = size / 2 + rng.normal(0, 0.04 * size, 2)
    matrix = (
        c,
        s,
        size / 2 - c * centre[0] - s * centre[1],
        -s,
        c,
        size / 2 + s * centre[0] - c * centre[1],
        persp[0],
        persp[1],
    )
    raw = Image.fromarray(image.clip(1, 255).astype(np.uint8))
    placed = raw.transform(
        (size, size), Image.Transform.PERSPECTIVE, matrix, Image.Resampling.BILINEAR
    )
    image = np.asarray(placed, np.float32)
    outside = (image.max(-1, keepdims=True) == 0).astype(np.float32)
    image = image * (1 - outside) + room * outside
    image = image * np.exp(rng.normal(0, [0.1, 0.06, 0.14])).astype(np.float32)
    if rng.random() < 0.5:  # lamp in the glass
        gx, gy = rng.uniform(0, size, 2)
        spread = (rng.uniform(0.04, 0.2) * size) ** 2
        glow = np.exp(-((x - gx) ** 2 + (y - gy) ** 2) / (2 * spread))
        image = image + rng.uniform(20, 150) * glow[..., None]
    return _blur(image, rng.uniform(0.3, 1.6))


def spoil(rng: Rng, pixels: np.ndarray) -> np.ndarray:
    """Make a picture nobody could grade: blurred, shaken, dark, burnt out, veiled or covered."""
    size = pixels.shape[0]
    kind = int(rng.integers(6))
    if kind == 0:
        return _blur(pixels, rng.uniform(0.013, 0.035) * size)
    if kind == 1:  # shaken: mean of shifted copies
        steps = int(rng.uniform(0.05, 0.12) * size)
        angle = rng.uniform(0, np.pi)
        total = np.zeros_like(pixels)
        for n in range(0, steps, max(1, steps // 12)):
            total += np.roll(pixels, (int(n * np.sin(angle)), int(n * np.cos(angle))), (0, 1))
        return _blur(total / len(range(0, steps, max(1, steps // 12))), 1.5)
    if kind == 2:
        return pixels * rng.uniform(0.04, 0.18) + rng.normal(0, 4, pixels.shape)
    if kind == 3:
        return pixels * rng.uniform(2.6, 6) + rng.uniform(10, 60) * (
            pixels.max(-1, keepdims=True) > 20
        )
    if kind == 4:
        return haze(rng, _blur(pixels, rng.uniform(1, 5)), rng.uniform(0.75, 0.93))
    y, x = np.mgrid[:size, :size] / size - 0.5
    angle = rng.uniform(0, 6.28)
    cover = 1 / (
        1 + np.exp(-(x * np.cos(angle) + y * np.sin(angle) - rng.uniform(-0.2, 0.05)) * 18)
    )
    shade = np.array([rng.uniform(0, 190), rng.uniform(0, 120), rng.uniform(0, 90)], np.float32)
    return pixels * (1 - cover[..., None]) + shade * cover[..., None]


def vary(rng: Rng, pixels: np.ndarray, wanted: np.ndarray | None = None) -> np.ndarray:
    """Apply the variations a gradable picture may show.

    Args:
        rng: decides which.
        pixels: the picture.
        wanted: `style` of another picture, whose colours it may take.
    """
    x = pixels
    if rng.random() < 0.45:
        x = low_resolution(rng, x)
    if wanted is not None and rng.random() < 0.35:
        x = restyle(rng, x, wanted)
    if rng.random() < 0.9:
        x = colour(rng, x, 1.6 if rng.random() < 0.15 else 1.0)
    if rng.random() < 0.3:
        x = shading(rng, x)
    if rng.random() < 0.2:
        x = partial_field(rng, x)
    if rng.random() < 0.15:
        x = haze(rng, x, rng.uniform(0.1, 0.45))
    elif rng.random() < 0.25:
        x = _blur(x, rng.uniform(0.3, 1.4))
    if rng.random() < 0.15:
        grain = rng.standard_normal(x.shape, dtype=np.float32)
        x = x + np.float32(rng.uniform(1, 8)) * grain
    if rng.random() < 0.4:
        x = jpeg(rng, x)
    return x


def vary_negative(rng: Rng, pixels: np.ndarray) -> np.ndarray:
    """Vary a picture that is no fundus, now and then towards the colours and mask of one."""
    x = pixels
    if rng.random() < 0.3:  # tint like a retina
        grey = x.mean(-1, keepdims=True)
        tone = np.array([1.4, rng.uniform(0.5, 0.9), rng.uniform(0.2, 0.6)], np.float32)
        x = grey * tone
    if rng.random() < 0.35:
        x = disc_mask(rng, x)
    return vary(rng, x)
