"""The run lengths in which Label Studio stores what was painted with its brush.

They are those of the library rle-pack by thi.ng, whose documentation describes the bits: 32 for
the number of words, 5 for the size of a word, 4 for each of four sizes of counts, each size less
1; then, chunk by chunk, a bit that tells repetition, 2 that choose the size of the count, the count
less 1, and the word, or as many words. A word is a channel of a pixel: red, green, blue, opacity.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_CHANNELS = 4
_WORD_BITS = 8


def decode_brush(code: Sequence[int], shape_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return what was painted, ``(H, W)`` bool.

    Parameters
    ----------
    code : sequence of int
        Bytes, 0 to 255.
    shape_hw : tuple of int
        Height and width of the image.

    Returns
    -------
    ndarray of shape (H, W), bool
        True where the paint has at least half of its largest opacity: a brush has a soft edge.

    Raises
    ------
    ValueError
        If these are no such run lengths, or those of another image.
    """
    try:
        reader = _BitReader(bytes(code))
    except TypeError:
        raise ValueError("something else than numbers") from None
    words = np.empty(shape_hw[0] * shape_hw[1] * _CHANNELS, np.uint8)
    count = reader.read(32)
    if count != words.size:
        raise ValueError(f"{count} words, not 4 for each of {shape_hw[1]}×{shape_hw[0]} pixels")
    bits = reader.read(5) + 1
    if bits != _WORD_BITS:
        raise ValueError(f"words of {bits} bits, not {_WORD_BITS}")
    count_bits = [reader.read(4) + 1 for _ in range(4)]
    done = 0
    while done < words.size:
        repeated = reader.read(1)
        length = reader.read(count_bits[reader.read(2)]) + 1
        if done + length > words.size:
            raise ValueError("more pixels than the image has")
        chunk = words[done : done + length]
        chunk[:] = reader.read(_WORD_BITS) if repeated else reader.read_bytes(length)
        done += length
    opacity = words.reshape(*shape_hw, _CHANNELS)[..., -1]
    return opacity >= max(1, (int(opacity.max()) + 1) // 2)


class _BitReader:
    """Numbers out of bytes, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def read(self, bits: int) -> int:
        """Return the next number, of at most 32 bits."""
        first, skipped = divmod(self._advance(bits), 8)
        window = self._data[first : first + 5].ljust(5, b"\0")  # 32 bits lie in 5 bytes at most
        return int.from_bytes(window) >> (40 - skipped - bits) & ((1 << bits) - 1)

    def read_bytes(self, count: int) -> npt.NDArray[np.uint8]:
        """Return the next numbers of 8 bits each."""
        first, skipped = divmod(self._advance(8 * count), 8)
        window = np.frombuffer(self._data, np.uint8, min(count + 1, len(self._data) - first), first)
        return np.packbits(np.unpackbits(window)[skipped : skipped + 8 * count])

    def _advance(self, bits: int) -> int:
        start, self._place = self._place, self._place + bits
        if self._place > 8 * len(self._data):
            raise ValueError("an end before the last pixel")
        return start
