"""Tensors as JSON has them: read as JSON's own reader would, but without holding up the rest."""

import json
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defectseg.line.tensors import parse_request, read_numbers, write_digits


def parse(body: bytes) -> Any:
    """What JSON says, with the lists of numbers read."""
    parsed = parse_request(body)
    return {
        name: json.loads(own) if isinstance(own, bytes) else own for name, own in parsed.items()
    }


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["data", 'data"', '"data', '"data":[1', "shape"]),
        st.lists(st.integers(0, 255) | st.text(max_size=3))
        | st.text()
        | st.sampled_from(['"data":[1,2],', '"data"', "NaN", "]", {"data": 1}]),
    ),
    st.sampled_from([None, 1]),
)
def test_a_request_is_read_as_json_reads_it(request_: dict[str, Any], indent: int | None) -> None:
    body = json.dumps(request_, indent=indent, ensure_ascii=False).encode()
    assert parse(body) == request_


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":[1,2]',
        b'{"data":[1,2],}',
        b'{"data":[1,2],,"a":1}',
        b'{"data":[1,2]"a":1}',
        b'{"data":NaN}',
        b'{"a":NaN,"data":[1]}',
        b'{"data":[1],"a":Infinity}',
        b"",
    ],
)
def test_what_is_no_json_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_request(body)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4), st.sampled_from([None, 0, 2]), st.data()
)
def test_numbers_are_read_flat_and_nested(
    shape: list[int], indent: int | None, data: st.DataObject
) -> None:
    size = int(np.prod(shape))
    numbers = data.draw(st.lists(st.integers(0, 255), min_size=size, max_size=size))
    expected = np.reshape(numbers, shape)
    for written in (numbers, expected.tolist(), [float(own) for own in numbers]):
        found = read_numbers(json.dumps(written, indent=indent).encode(), tuple(shape))
        assert found.dtype == np.uint8
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "text",
    [
        b"[1,2,3]",
        b"[1,2,3,4,5]",
        b"[[1,2,3,4]]",
        b"[[1,2],[3,4]",
        b"[[1,2],[3],4]",
        b"[[1,2],3[,4]]",
        b"[[1,2][3,4]]",
        b"[1 2,3,4]",
        b"[1,2,3,4,]",
        b"[,1,2,3,4]",
        b"[1,2,3,04]",
        b"[1,2,3,256]",
        b"[1,2,3,1000]",
        b"[1,2,3,-4]",
        b"[1,2,3,4e0]",
        b"[1,2,3,4.5]",
        b"[1,2,3,4.05]",
        b"[1,2,3,4.]",
        b"[1,2,3,.0]",
        b"[1,2,3.0.0,4]",
        b"[1,2,3,true]",
        b"[1,2,3,\xb2]",
        b"[]",
        b"[[],[]]",
    ],
)
def test_other_numbers_and_other_shapes_are_errors(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"not all whole numbers|expected \[2, 2\]"):
        read_numbers(text, (2, 2))


def test_numbers_are_whole_where_the_pieces_of_a_long_list_meet() -> None:
    numbers = np.random.default_rng(0).integers(0, 256, (700, 700), np.uint8)
    for written in (numbers.tolist(), numbers.ravel().tolist()):
        assert np.array_equal(read_numbers(json.dumps(written).encode(), (700, 700)), numbers)


def test_a_shape_beyond_all_memory_is_an_error_like_another() -> None:
    with pytest.raises(ValueError, match="do not have the shape"):
        read_numbers(b"[1,2]", (100_000,) * 4)


def test_digits_are_written_as_json() -> None:
    digits = np.array([[0, 1, 9], [1, 0, 0]], np.uint8)
    assert json.loads(write_digits(digits)) == [0, 1, 9, 1, 0, 0]
    assert write_digits(digits[:1, :1]) == b"[0]"


def test_other_threads_go_on_while_millions_of_numbers_are_read() -> None:
    body = b'{"data":[' + b"7," * 8_000_000 + b"7]}"
    waited, ending = [0.0], threading.Event()

    def go_on() -> None:
        last = time.monotonic()
        while not ending.wait(0.001):
            waited.append(time.monotonic() - last)
            last = time.monotonic()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        read_numbers(parse_request(body)["data"], (8_000_001,))
    finally:
        ending.set()
        thread.join()
    assert max(waited) < 0.25  # as measured: 0.05 s; by json.loads alone 0.4 s
