"""Simulated cameras: when they take images, and how sharp these are."""

import math

import numpy as np

IMAGES_A_DAY = 200


def days(count: int, a_day: float = 1) -> np.ndarray:
    """Times of images that are spread evenly."""
    seconds = (np.arange(count) + 0.5) / a_day * 86_400
    return np.datetime64("2024-01-01", "us") + (seconds * 1e6).astype("timedelta64[us]")


def see(levels: np.ndarray, seed: int, *, noise: float = 0.08, wander: float = 0.003) -> np.ndarray:
    """What a camera with these levels measures: days of 200 images, and a wander of half-life 1."""
    rng = np.random.default_rng(seed)
    wanders = np.empty(len(levels) // IMAGES_A_DAY)
    wanders[0] = rng.normal(0, wander)
    for day in range(1, len(wanders)):
        wanders[day] = 0.5 * wanders[day - 1] + rng.normal(0, wander * math.sqrt(0.75))
    day = 1 + np.repeat(wanders, IMAGES_A_DAY)
    return levels * day * (1 + noise * rng.standard_normal(len(levels)))


def constant(level: float, count: int) -> np.ndarray:
    return np.full(count * IMAGES_A_DAY, level)
