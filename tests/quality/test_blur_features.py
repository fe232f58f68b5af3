import numpy as np
import numpy.typing as npt
import pytest

from defectseg.dataset.synthetic import generate_sample
from defectseg.quality.blur_features import FEATURES, TILE_PX, describe, to_levels

RINGS = TILE_PX // 2 + 1
DIRECTED = slice(RINGS + 3, RINGS + 6)  # of each band, across over down


@pytest.fixture(scope="module")
def texture() -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(4)
    return generate_sample("Class6", defective=False, rng=rng, size=256)[0]


def features_of(gray: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    features = describe(gray)
    assert features is not None
    return features


def wave(across: int, down: int) -> npt.NDArray[np.uint8]:
    """So many cycles a tile along columns and rows."""
    rows, columns = np.mgrid[:TILE_PX, :TILE_PX]
    return to_levels(128 + 100 * np.cos(2 * np.pi * (across * columns + down * rows) / TILE_PX))


def test_rings_are_those_of_a_fourier_transform(texture: npt.NDArray[np.uint8]) -> None:
    tile = texture[:TILE_PX, :TILE_PX]
    # numpy's window is without the zeros at its ends.
    window = np.hanning(TILE_PX + 2)[1:-1]
    power = np.abs(np.fft.fft2((tile - tile.mean()) * np.outer(window, window))) ** 2
    frequency = np.fft.fftfreq(TILE_PX) * TILE_PX
    ring = np.rint(np.hypot(frequency[:, None], frequency)).clip(max=RINGS)
    shares = [power[ring == number].mean() / power.sum() for number in range(1, RINGS + 1)]
    assert features_of(tile)[:RINGS] == pytest.approx(np.log(shares), abs=1e-4)


@pytest.mark.parametrize(("across", "down"), [(6, 0), (0, 6), (9, 0), (6, 8), (6, -8), (8, 6)])
def test_a_wave_is_strongest_in_the_ring_of_its_frequency(across: int, down: int) -> None:
    # √(6² + 8²) = 10 cycles a tile, and the first ring is that of one.
    rings = features_of(wave(across, down))[:RINGS]
    assert np.argmax(rings) == round(np.hypot(across, down)) - 1


def test_across_and_down_are_told_apart() -> None:
    # 6, 10 and 14 cycles a tile are 0.19, 0.31 and 0.44 a pixel: one in each of the bands.
    for band, cycles in enumerate((6, 10, 14)):
        across, down = (features_of(wave(*way))[DIRECTED] for way in ((cycles, 0), (0, cycles)))
        assert across[band] > 1
        assert across == pytest.approx(-down, abs=1e-3)


def test_a_turned_image_has_the_same_rings(texture: npt.NDArray[np.uint8]) -> None:
    upright, turned = features_of(texture), features_of(np.ascontiguousarray(texture.T))
    assert turned[:RINGS] == pytest.approx(upright[:RINGS], abs=1e-4)
    assert turned[DIRECTED] == pytest.approx(-upright[DIRECTED], abs=1e-4)


def test_there_are_as_many_as_said(texture: npt.NDArray[np.uint8]) -> None:
    assert features_of(texture).shape == (FEATURES,)


@pytest.mark.parametrize("shape", [(0, 0), (TILE_PX - 1, 100), (100, TILE_PX - 1), (200, 200)])
def test_what_shows_nothing_has_none(shape: tuple[int, int]) -> None:
    assert describe(np.full(shape, 77, np.uint8)) is None


def test_floats_are_rounded_and_cut_off() -> None:
    gray = np.array([[-3.0, 0.4, 1.6, 254.7, 300.0]])
    assert to_levels(gray).tolist() == [[0, 0, 2, 255, 255]]
