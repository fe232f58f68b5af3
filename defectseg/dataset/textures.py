"""The six textures of the synthetic data, each with the look of its own defect.

Every painter takes a generator, the image's side in pixels and the damage, if any; it returns a
field of mean near 0 and deviation near 1, shape (size, size), float32.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Random = np.random.Generator


@dataclass(frozen=True)
class Damage:
    """Where a texture is disturbed, in arrays of shape (H, W), float32.

    `coverage` is 0 where the texture is sound and 1 where only the defect is seen. `along` and
    `across` are pixels from the ellipse's centre, by its first axis. What else a defect draws
    comes from `rng`, so that the texture around it stays as it was.
    """

    coverage: Field
    along: Field
    across: Field
    rng: Random

    def replace(self, sound: Field, broken: Field) -> Field:
        """Return `sound` with `broken` in place of what is covered."""
        return np.asarray(sound + self.coverage * (broken - sound), np.float32)


def _noise(rng: Random, size: int, sigma: float) -> Field:
    """Return noise of deviation near 1, smooth over `sigma` pixels."""
    step = max(1, int(sigma / 2))  # what is smooth is drawn on a coarse grid, for speed
    grid = rng.standard_normal((size // step + 4, size // step + 4), np.float32)
    grid = cv2.GaussianBlur(grid, (0, 0), sigma / step) * (2 * np.sqrt(np.pi) * sigma / step)
    full = cv2.resize(grid, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    return np.asarray(full[:size, :size], np.float32)


def _axes(size: int, angle: float) -> tuple[Field, Field]:
    """Return each pixel's coordinate along and across a direction."""
    pixels = np.arange(size, dtype=np.float32)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return pixels * cos + pixels[:, None] * sin, pixels[:, None] * cos - pixels * sin


def paint_interference(rng: Random, size: int, damage: Damage | None) -> Field:
    """Class 1: waves of 4 to 6 px that interfere; the defect is a smooth patch."""
    count = 48
    direction = rng.integers(4, size=count) * np.pi / 4 + rng.normal(0, 0.3, count)
    number = 2 * np.pi / rng.uniform(4.0, 6.0, count)
    phase = rng.uniform(0, 2 * np.pi, count)
    pixels = np.arange(size)[:, None]
    down = np.exp(1j * (pixels * number * np.sin(direction) + phase)).astype(np.complex64)
    right = np.exp(1j * pixels * number * np.cos(direction)).astype(np.complex64)
    amplitude = np.abs(down @ right.T) / np.sqrt(count)
    # Rayleigh's mean and deviation: those of the amplitude of many waves.
    field = np.asarray((amplitude - 0.886) / 0.463, np.float32)
    if damage is None:
        return field
    # A trace of the waves is left.
    return damage.replace(field, 0.1 * field + np.float32(damage.rng.uniform(-0.3, 0.5)))


def paint_brushed(rng: Random, size: int, damage: Damage | None) -> Field:
    """Class 2: metal brushed downwards; the defect is a bundle of scratches across."""
    side = size + size // 2
    lines = rng.standard_normal((side, side), np.float32)
    for _ in range(2):
        lines = cv2.blur(lines, (1, 41))
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.choice([-1, 1]) * rng.uniform(3, 9), 1)
    turn[:, 2] -= (side - size) / 2
    # 7.8 makes up for the deviation lost to two means of 41.
    field = 7.8 * cv2.warpAffine(lines, turn, (size, size), flags=cv2.INTER_CUBIC)
    if damage is None:
        return np.asarray(field, np.float32)
    bend = 2 * np.sin(damage.along / damage.rng.uniform(15, 30))
    profile = 1.1 + 0.9 * damage.rng.standard_normal(2 * size + 1)
    streaks = np.interp(damage.across + bend, np.arange(-size, size + 1), profile)
    return damage.replace(field, 0.4 * field + streaks.astype(np.float32))


def paint_ripple(rng: Random, size: int, damage: Damage | None) -> Field:
    """Class 3: a ripple of 5 to 6 px; in the defect it is dull, its phase in disorder."""
    # Near a diagonal only: elsewhere the mean gradient along the axes would depend on the angle.
    along, _ = _axes(size, rng.uniform(0.3, 0.9) * rng.choice([-1, 1]))
    phase = 2 * np.pi / rng.uniform(5.0, 6.0) * along + 1.5 * _noise(rng, size, 40)
    grain = 0.35 * _noise(rng, size, 0.6)
    ripple = np.sin(phase)
    if damage is not None:
        disorder = 2.6 * _noise(damage.rng, size, 4)
        ripple = damage.replace(ripple, 0.6 * np.sin(phase + disorder) - 0.4)
    return np.asarray(1.3 * ripple + grain, np.float32)


def paint_weave(rng: Random, size: int, damage: Damage | None) -> Field:
    """Class 4: a weave of threads 5 px wide; in the defect they are pulled out of place."""
    coordinates = _axes(size, rng.uniform(-0.12, 0.12))
    pitch = rng.uniform(4.7, 5.3)
    slack = [0.6 * _noise(rng, size, 30) for _ in coordinates]
    shades = rng.normal(0, 0.3, (2, 4 * size))
    if damage is not None:
        slack = [s + damage.coverage * 4.5 * _noise(damage.rng, size, 10) for s in slack]
    threads = [(c + s) / pitch for c, s in zip(coordinates, slack, strict=True)]
    index = [np.floor(thread).astype(np.int32) for thread in threads]
    bulge = [np.sin(np.pi * (thread - i)) for thread, i in zip(threads, index, strict=True)]
    warp, weft = (1.6 * b + s[i] for b, s, i in zip(bulge, shades, index, strict=True))
    field = np.where((index[0] + index[1]) % 2, warp, weft - 0.8) - 0.6
    return np.asarray(field if damage is None else field - 0.7 * damage.coverage, np.float32)


def paint_leather(rng: Random, size: int, damage: Damage | None) -> Field:
    """Class 5: grain with dark creases; where it is rubbed off, they are light on a dull ground."""
    creases = 0.25 - np.exp(-((_noise(rng, size, 1.8) / 0.3) ** 2))
    field = 3 * creases + 0.3 * _noise(rng, size, 0.6)
    return field if damage is None else damage.replace(field, -0.5 * field - 0.3)


def paint_cast(rng: Random, size: int, damage: Damage | None) -> Field:
    """Class 6: the broad-band noise of a cast surface; the defect is a long dark stripe."""
    octaves = ((0.6, 0.7), (1.5, 0.45), (4.0, 0.4), (10.0, 0.25))
    field = sum((weight * _noise(rng, size, sigma) for sigma, weight in octaves), np.float32(0))
    depth = 0.0 if damage is None else damage.rng.uniform(0.85, 1.15) * damage.coverage
    return np.asarray(field - depth, np.float32)
