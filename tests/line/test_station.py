"""The station: whatever happens to an image, it is recorded once, and not as a PASS in doubt."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from defectseg.inference.engines import Engine
from defectseg.line import station as station_module
from defectseg.line.archive import IMAGE, MASK, Archive
from defectseg.line.job import Job, Recorded, Source
from defectseg.line.ledger import Ledger, SameImageError, verify
from defectseg.line.models import ModelSlot
from defectseg.line.records import Inspection
from defectseg.line.rules import load_rules
from defectseg.line.settings import Limits
from defectseg.line.station import NotInspectedError, QueueFullError, Station, TooLargeError
from defectseg.processor import count_cores
from tests.line.conftest import draw, draw_file, set_engine, wait_until


class Gated:
    """An engine that waits for a sign before each answer, and fails where it is told to."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.precision = engine.name, engine.precision
        self._engine = engine
        self.go = threading.Event()
        self.fails = False
        self.waiting = 0

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.waiting += 1
        self.go.wait(20)
        if self.fails:
            raise RuntimeError("the engine\nbroke")
        return self._engine.probability(image)

    def probabilities(
        self, images: Sequence[npt.NDArray[np.uint8]]
    ) -> list[npt.NDArray[np.float32]]:
        return [self.probability(image) for image in images]


class AtWork:
    """A station with what belongs to it."""

    def __init__(self, folder: Path, bundle: Path, limits: Limits) -> None:
        self.folder = folder
        self.closed = False
        self.told: list[Inspection] = []
        self.ledger = Ledger(folder)
        self.slot = ModelSlot(load_rules(None), lambda: (), 0.9, lambda *news: None)
        self.slot.start(bundle)
        self.archive = Archive(folder)
        self.station = Station(self.ledger, self.archive, self.slot, limits, self.told.append)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.station.close()
            self.ledger.close()

    def gate(self) -> Gated:
        assert self.slot.current is not None
        own = Gated(self.slot.current.predictor.engine)
        set_engine(self.slot.current, own)
        return own

    def submit(self, data: bytes, part: str = "p", camera: str = "c", **how: float) -> Job:
        source = Source(part, camera, "Class1", "http")
        return self.station.submit(data, source, timeout_s=how.get("timeout_s", 20))

    def inspect(self, data: bytes, part: str = "p", **how: float) -> Recorded:
        return self.submit(data, part, **how).verdict.result(20)


@pytest.fixture
def make(bundle_folder: Path, tmp_path: Path) -> Iterator[Callable[..., AtWork]]:
    made: list[AtWork] = []

    def start(**limits: float) -> AtWork:
        made.append(AtWork(tmp_path / "station", bundle_folder, Limits.model_validate(limits)))
        return made[-1]

    yield start
    for own in made:
        own.close()
        assert not any(chain.problems for chain in verify(own.folder))


@contextmanager
def table_closed(own: AtWork) -> Iterator[None]:
    """Let nobody write to the ledger, as a disk that is full would."""
    own.ledger.store.write(lambda c: c.execute("ALTER TABLE inspections RENAME TO away")).result()
    try:
        yield
    finally:
        own.ledger.store.write(
            lambda c: c.execute("ALTER TABLE away RENAME TO inspections")
        ).result()


def test_the_verdict_is_the_predictors(make: Callable[..., AtWork]) -> None:
    own = make()
    recorded = own.inspect(draw_file(3, defective=True), "part 3")
    assert own.slot.current is not None
    expected = own.slot.current.predictor.inspect(draw(3, defective=True), "Class1")
    row = recorded.inspection
    assert (row.outcome, row.reasons) == (expected.verdict.outcome, expected.verdict.reasons)
    assert row.score == pytest.approx(expected.score, abs=1e-6)
    assert row.defect_area_px == expected.mask.sum()
    assert len(row.regions) == len(expected.regions)
    assert row.recipe == own.slot.current.recipes["Class1"]
    assert (row.final, row.id, row.part_id) == (True, 1, "part 3")
    image = own.archive.path(row.pictures, IMAGE)
    assert image is not None
    assert image.read_bytes() == draw_file(3, defective=True)
    assert own.archive.path(row.pictures, MASK) is not None
    assert own.ledger.inspection(1) == row


def test_a_single_image_and_one_of_many_are_judged_alike(make: Callable[..., AtWork]) -> None:
    model = make().slot.current
    assert model is not None
    assert model.alone.engine is not model.predictor.engine
    for number in range(4):
        image = draw(number, defective=number % 2 == 0)
        one = model.inspect(image, "Class1", is_alone=lambda: True)
        many = model.inspect(image, "Class1", is_alone=lambda: False)
        assert one.verdict == many.verdict
        assert one.score == pytest.approx(many.score, abs=1e-5)


def test_all_cores_answer_an_image_while_no_other_waits_for_an_answer(
    make: Callable[..., AtWork],
) -> None:
    own = make()
    model = own.slot.current
    assert model is not None
    alone, many = Gated(model.alone.engine), Gated(model.predictor.engine)
    model.alone.engine, model.predictor.engine = alone, many
    first = own.submit(draw_file(1))
    wait_until(lambda: alone.waiting == 1)
    second = own.submit(draw_file(2))
    wait_until(lambda: many.waiting == 1)
    alone.go.set()
    first.verdict.result(20)
    third = own.submit(draw_file(3))  # the second is not answered yet
    wait_until(lambda: many.waiting == 2)
    many.go.set()
    for job in (second, third):
        job.verdict.result(20)
    assert own.inspect(draw_file(4)).inspection.final
    assert (alone.waiting, many.waiting) == (2, 2)


def test_the_same_again_is_answered_by_what_was_recorded(make: Callable[..., AtWork]) -> None:
    own = make()
    first = own.inspect(draw_file(1))
    again = own.inspect(draw_file(1))
    assert not first.repeated
    assert again.repeated
    assert again.inspection == first.inspection
    assert len(own.ledger.latest(9)) == 1


def test_the_same_image_at_the_same_time_is_inspected_once(make: Callable[..., AtWork]) -> None:
    own = make()
    gate = own.gate()
    jobs = [own.submit(draw_file(1)) for _ in range(5)]
    assert len(set(map(id, jobs))) == 1
    gate.go.set()
    assert jobs[0].verdict.result(20).inspection.id == 1
    assert len(own.ledger.latest(9)) == 1


@pytest.mark.parametrize("under_way", [True, False])
def test_the_same_image_of_another_part_is_an_error(
    make: Callable[..., AtWork], under_way: bool
) -> None:
    own = make()
    gate = own.gate()
    first = own.submit(draw_file(1), "part 1")
    if not under_way:
        gate.go.set()
        first.verdict.result(20)
    with pytest.raises(SameImageError, match="part 1 by camera c"):
        own.submit(draw_file(1), "part 2")
    with pytest.raises(SameImageError, match="frozen"):
        own.submit(draw_file(1), "part 1", "other camera")
    gate.go.set()
    final = first.verdict.result(20).inspection
    own.station.ledger.store.write(lambda connection: None).result()
    others = [row for row in own.ledger.latest(9) if row.id != final.id]
    assert [row.part_id for row in others] == ["part 1", "part 2"]  # the newest first
    assert all(row.outcome == "ERROR" and not row.final for row in others)


def test_the_same_image_of_another_part_is_an_error_also_by_another_model(
    make: Callable[..., AtWork],
) -> None:
    own = make()
    own.inspect(draw_file(1), "part 1")
    assert own.slot.current is not None
    recipes = {product: f"new {recipe}" for product, recipe in own.slot.current.recipes.items()}
    own.slot.current = replace(own.slot.current, recipes=recipes)
    with pytest.raises(SameImageError, match="part 1"):
        own.submit(draw_file(1), "part 2")
    again = own.inspect(draw_file(1), "part 1")
    assert not again.repeated
    assert again.inspection.final


@pytest.mark.parametrize("data", [b"", b"no image", draw_file(1)[:-20]])
def test_what_cannot_be_read_is_an_error_for_good(make: Callable[..., AtWork], data: bytes) -> None:
    row = make().inspect(data).inspection
    assert (row.outcome, row.final, row.score) == ("ERROR", True, None)
    assert "expected" in row.error
    assert row.pictures  # for whoever looks for the cause


def test_a_product_that_is_not_known_is_an_error(make: Callable[..., AtWork]) -> None:
    own = make()
    for product in (None, "Class9"):
        job = own.station.submit(draw_file(1), Source("p", "c", product, "folder"))
        row = job.verdict.result(20).inspection
        assert (row.outcome, row.final) == ("ERROR", False)  # it may come again, with a product
        assert "Class1, Class5" in row.error


def test_an_engine_that_fails_costs_one_image_which_may_come_again(
    make: Callable[..., AtWork],
) -> None:
    own = make()
    gate = own.gate()
    gate.go.set()
    gate.fails = True
    row = own.inspect(draw_file(1)).inspection
    assert (row.outcome, row.final) == ("ERROR", False)
    assert "broke" in row.error
    gate.fails = False
    again = own.inspect(draw_file(1)).inspection
    assert (again.final, again.id) == (True, 2)
    assert again.outcome != "ERROR"


def test_a_full_queue_refuses_and_forgets_nothing(make: Callable[..., AtWork]) -> None:
    own = make(queue=2)
    gate = own.gate()
    jobs: list[Job] = []

    def fill() -> None:
        for number in range(9):
            jobs.append(own.submit(draw_file(number)))

    with pytest.raises(QueueFullError, match="2 images wait"):
        fill()
    assert len(jobs) >= 2
    gate.go.set()
    rows = [job.verdict.result(20).inspection for job in jobs]
    assert all(row.final for row in rows)
    assert own.inspect(draw_file(len(jobs))).inspection.final  # the one that was refused


def test_too_late_is_an_error_whether_it_waited_or_took_long(make: Callable[..., AtWork]) -> None:
    own = make(timeout_s=0.2)
    gate = own.gate()
    jobs = [own.submit(draw_file(number), timeout_s=0.2) for number in range(5)]
    time.sleep(0.3)
    gate.go.set()
    for job in jobs:
        row = job.verdict.result(20).inspection
        assert (row.outcome, row.final) == ("ERROR", False)
        assert "within 0.2 s" in row.error
    assert own.inspect(draw_file(0)).inspection.final


def test_what_is_given_up_stays_an_error_though_the_engine_answers_later(
    make: Callable[..., AtWork],
) -> None:
    own = make(timeout_s=0.1)
    gate = own.gate()
    job = own.submit(draw_file(1), timeout_s=0.1)
    time.sleep(0.05)
    given_up = own.station.give_up(job).inspection
    assert (given_up.outcome, given_up.final) == ("ERROR", False)
    gate.go.set()
    time.sleep(0.3)
    assert [row.outcome for row in own.ledger.latest(9)] == ["ERROR"]


def test_workers_that_are_all_stuck_are_told(make: Callable[..., AtWork]) -> None:
    own = make(timeout_s=0.1)
    gate = own.gate()
    for number in range(count_cores() + 4):
        own.submit(draw_file(number), timeout_s=0.1)
    deadline = time.monotonic() + 10
    while not own.station.problems():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "workers have been at one image" in own.station.problems()[0]
    gate.go.set()


def test_what_cannot_be_recorded_is_not_inspected(make: Callable[..., AtWork]) -> None:
    own = make()
    gate = own.gate()
    job = own.submit(draw_file(1))
    with table_closed(own):
        gate.go.set()
        with pytest.raises(NotInspectedError, match="Not recorded"):
            job.verdict.result(20)
        with pytest.raises(NotInspectedError, match="Not recorded"):
            own.submit(draw_file(2))
        assert "Nothing can be recorded" in own.station.problems()[0]
        assert own.told == []
    own.station.try_again()
    assert own.station.problems() == []
    assert own.inspect(draw_file(1)).inspection.id == 1


def test_a_ledger_that_cannot_be_read_is_told(make: Callable[..., AtWork]) -> None:
    own = make()
    with table_closed(own):
        with pytest.raises(NotInspectedError, match="Not recorded"):
            own.submit(draw_file(1))
        assert "Nothing can be recorded" in own.station.problems()[0]
        own.station.try_again()
        assert own.station.problems()
    own.station.try_again()
    assert own.station.problems() == []


def test_pictures_that_cannot_be_kept_are_no_pass(make: Callable[..., AtWork]) -> None:
    own = make()
    (own.folder / "pictures").write_text("a file where the folder should be")
    row = own.inspect(draw_file(1)).inspection
    assert (row.outcome, row.final) == ("ERROR", False)
    assert own.station.problems()
    own.station.try_again()
    assert "pictures cannot be written" in own.station.problems()[0]
    (own.folder / "pictures").unlink()
    own.station.try_again()
    assert own.station.problems() == []
    assert own.inspect(draw_file(1)).inspection.final


def test_too_many_pixels_are_refused_before_they_are_unpacked(make: Callable[..., AtWork]) -> None:
    own = make(most_megapixels=0.01)  # the image has 128 × 128 = 16,384
    with pytest.raises(TooLargeError, match="128×128"):
        own.submit(draw_file(1))
    own.ledger.store.write(lambda connection: None).result()
    (row,) = own.ledger.latest(9)
    assert (row.outcome, row.final) == ("ERROR", False)
    assert "128×128" in row.error


def test_large_images_go_one_at_a_time(
    make: Callable[..., AtWork], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station_module, "_LARGE_PX", 128 * 128 - 1)
    own = make()
    gate = own.gate()
    jobs = [own.submit(draw_file(number)) for number in range(3)]
    time.sleep(0.3)
    assert gate.waiting == 1
    gate.go.set()
    assert all(job.verdict.result(20).inspection.final for job in jobs)


def test_without_a_model_nothing_is_inspected(make: Callable[..., AtWork]) -> None:
    own = make()
    own.slot.current, own.slot.problem = None, "it is broken"
    with pytest.raises(NotInspectedError, match="it is broken"):
        own.submit(draw_file(1))
    assert own.station.problems() == ["There is no model: it is broken"]


def test_each_new_row_is_told_once_in_order(make: Callable[..., AtWork]) -> None:
    own = make()
    for number in (1, 2, 1, 3):
        own.inspect(draw_file(number))
    own.close()
    assert [row.id for row in own.told] == [1, 2, 3]


def test_closing_records_what_waits(make: Callable[..., AtWork]) -> None:
    own = make()
    jobs = [own.submit(draw_file(number)) for number in range(8)]
    own.close()
    assert all(job.verdict.result(0).inspection.final for job in jobs)
    connection = sqlite3.connect(own.folder / "ledger.sqlite")
    assert connection.execute("SELECT COUNT(*) FROM inspections").fetchone() == (8,)
    connection.close()
