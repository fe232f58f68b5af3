"""Tensors as JSON has them: millions of numbers, read and written while other work goes on.

Python's own JSON makes an object of each number, and no other thread runs before the last one: of
16 million that takes 0.7 s and a gigabyte.
"""

import json
import re
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

# The first quote of a name is outside of any string, and a list of numbers has neither quotes nor
# braces: what is found is a member "data", never a part of a text that looks like one.
_DATA = re.compile(rb'("data"\s*:\s*)(\[[^"{}]*+)')
_ZEROS = re.compile(rb"(?<=\d)\.0+(?![\d.eE])")
_WHITE = b" \t\r\n"
_ZERO, _NINE = b"09"
_MOST_DIGITS = 3
_PIECE_BYTES = 1 << 18
_MOST_OTHER_BYTES = 1_000_000


def parse_request(body: bytes) -> Any:
    """Return what a JSON text says; of each list of numbers named ``data``, its text as bytes.

    Raises
    ------
    ValueError
        If it is no JSON, or so much of it is no such list that it would hold up others.
    """
    texts: list[bytes] = []

    def take_out(found: re.Match[bytes]) -> bytes:
        numbers, end, after = found[2].rpartition(b"]")
        if after.strip(_WHITE) not in (b"", b","):
            return found[0]  # there are others in the list
        texts.append(numbers + end)
        return found[1] + b"NaN" + after  # which no JSON has

    def put_back(constant: str) -> bytes:
        if not texts:
            raise ValueError(f"{constant} is no JSON.")
        return texts.pop(0)

    rest = _DATA.sub(take_out, body)
    if len(rest) > _MOST_OTHER_BYTES:
        raise ValueError(
            f"There are {len(rest)} bytes beside data that are whole numbers from 0 to 255; "
            f"expected {_MOST_OTHER_BYTES} at most."
        )
    return json.loads(rest, parse_constant=put_back)


def read_numbers(text: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return the numbers that a list of JSON holds.

    Parameters
    ----------
    text : bytes
        The list: flat, or nested as the shape says.
    shape : tuple of int
        What is expected.

    Returns
    -------
    ndarray of that shape, uint8

    Raises
    ------
    ValueError
        If they are others, or not all whole numbers from 0 to 255.
    """
    pieces = [_read_piece(piece) for piece in _cut(text)]
    numbers = np.concatenate([own for own, _ in pieces])
    form = b"".join(own for _, own in pieces)
    if form.translate(None, b"[],0"):
        raise _no_numbers()
    # Compared only once the number is right: the shape may be a client's joke.
    if numbers.size != prod(shape) or form not in (_form(shape), _form((numbers.size,))):
        raise ValueError(
            f"The data, {numbers.size} numbers, do not have the shape; expected {list(shape)}, "
            "nested or flat."
        )
    return numbers.reshape(shape)


def write_digits(digits: npt.NDArray[np.uint8]) -> bytes:
    """Return an array of 0 to 9 as a flat list of JSON."""
    text = np.full(2 * digits.size + 1, ord(","), np.uint8)
    text[0], text[-1] = b"[]"
    text[1::2] = digits.ravel() + _ZERO
    return text.tobytes()


def _no_numbers() -> ValueError:
    return ValueError("The data are not all whole numbers from 0 to 255.")


def _form(shape: tuple[int, ...]) -> bytes:
    """Return the list of a tensor whose numbers are all 0."""
    own = b"0"
    for count in reversed(shape):
        own = b"[" + ((own + b",") * count)[:-1] + b"]"
    return own


def _cut(text: bytes) -> Iterator[bytes]:
    """Yield a list in pieces that each end with a comma."""
    begin = 0
    while begin < len(text):
        end = text.find(b",", begin + _PIECE_BYTES) + 1 or len(text)
        yield text[begin:end]
        begin = end


def _read_piece(piece: bytes) -> tuple[npt.NDArray[np.uint8], bytes]:
    """Return the numbers of a piece, and the piece without spaces and with 0 for each number."""
    if b"." in piece:
        piece = _ZEROS.sub(b"", piece)  # JSON does not tell 3.0 from 3
    own = np.frombuffer(piece, np.uint8)
    digit = (own >= _ZERO) & (own <= _NINE)
    first, last = digit.copy(), digit.copy()
    first[1:] &= ~digit[:-1]
    last[:-1] &= ~digit[1:]
    begin, end = np.flatnonzero(first), np.flatnonzero(last)
    length = end - begin + 1
    if ((length > _MOST_DIGITS) | (length > 1) & (own[begin] == _ZERO)).any():
        raise _no_numbers()
    numbers = np.zeros(len(begin), np.int16)
    for place in range(_MOST_DIGITS):
        there = length > place
        numbers[there] += 10**place * (own[end[there] - place].astype(np.int16) - _ZERO)
    if (numbers > 255).any():
        raise _no_numbers()
    form = np.where(first, np.uint8(_ZERO), own)[first | ~(digit | np.isin(own, tuple(_WHITE)))]
    return numbers.astype(np.uint8), form.tobytes()
