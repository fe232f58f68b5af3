"""The pages of a station, asked over loopback."""

from collections.abc import Callable

from tests.line.conftest import Running, draw_file


def test_an_image_is_inspected_recorded_and_answered(start_line: Callable[..., Running]) -> None:
    station = start_line()
    answer = station.inspect(draw_file(1), "part 1", camera_id="left")
    assert answer.status_code == 200, answer.text
    verdict = answer.json()
    assert verdict["outcome"] in {"PASS", "FAIL", "REVIEW", "RETAKE"}
    assert (verdict["part_id"], verdict["camera_id"]) == ("part 1", "left")
    again = station.client.get(verdict["links"]["self"]).json()
    assert again == verdict
    for name in ("image", "mask", "overlay"):
        assert station.client.get(verdict["links"][name]).status_code == 200
    assert station.client.get(verdict["links"]["image"]).content == draw_file(1)
