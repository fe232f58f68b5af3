"""The ledger: append-only, chained, one final row an image and recipe."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from defectseg.line.ledger import DecidedError, Ledger, verify
from defectseg.line.records import Inspection
from defectseg.line.store import DATABASE, StoreError


def row(**own: object) -> Inspection:
    given: dict[str, object] = {
        "received_at": "2026-01-31T08:15:00.000+00:00",
        "part_id": "p",
        "camera_id": "c",
        "product": "Class1",
        "source": "http",
        "image_sha256": "a",
        "recipe": "r",
        "outcome": "PASS",
        "final": True,
        "score": 0.1,
    }
    return Inspection(**(given | own))  # type: ignore[arg-type]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    own = Ledger(tmp_path)
    yield own
    own.close()


def test_a_row_comes_back_as_it_was_recorded(ledger: Ledger) -> None:
    region = {"area_px": 12, "bbox_xywh": [1, 2, 3, 4], "score": 0.5}
    given = row(reasons=("a; b", "ü"), regions=(region,), width=3, queue_ms=0, error="x\ny")
    recorded, new = ledger.record(given).result()
    assert new
    assert recorded == replace(given, id=1)
    assert ledger.inspection(1) == recorded
    assert ledger.find("a") == [recorded]
    assert ledger.find("b") == []


def test_a_final_image_is_there_once_and_the_first_verdict_stays(ledger: Ledger) -> None:
    first, _ = ledger.record(row(outcome="FAIL")).result()
    again, new = ledger.record(row(outcome="PASS")).result()
    assert not new
    assert again == first
    assert len(ledger.latest(10)) == 1


def test_what_is_not_final_is_recorded_every_time(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.record(row(outcome="ERROR", final=False)).result()
    assert ledger.find("a") == []
    recorded, new = ledger.record(row(outcome="PASS")).result()
    assert (recorded.id, new) == (3, True)


def test_many_threads_record_one_chain(ledger: Ledger, tmp_path: Path) -> None:
    def record(thread: int) -> None:
        for number in range(25):
            ledger.record(row(image_sha256=f"{thread} {number % 20}")).result()

    threads = [threading.Thread(target=record, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chains = verify(tmp_path)
    assert not any(chain.problems for chain in chains)
    assert chains[0].rows == 8 * 20  # 5 of each 25 were there already


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE inspections SET outcome = 'PASS' WHERE id = 3", "row 3 is not as it was written"),
        ("UPDATE inspections SET score = 0.1000001 WHERE id = 3", "row 3 is not as it was"),
        ("UPDATE inspections SET reasons = '[\"x\"]' WHERE id = 5", "row 5 is not as it was"),
        ("DELETE FROM inspections WHERE id = 2", "rows 2 to 2 are missing"),
        ("UPDATE inspections SET id = 9 WHERE id = 5", "rows 5 to 5 are missing"),
        ("UPDATE decisions SET name = 'eve'", "decisions: row 1 is not as it was"),
        ("DELETE FROM events WHERE id = 1", "events: rows 1 to 1 are missing"),
    ],
)
def test_what_is_changed_behind_its_back_shows(
    tmp_path: Path, statement: str, message: str
) -> None:
    ledger = Ledger(tmp_path)
    for number in range(5):
        ledger.record(row(image_sha256=str(number), outcome="FAIL")).result()
    ledger.record(row(image_sha256="unsure", outcome="REVIEW")).result()
    ledger.decide(6, "agree", "adam", "").result()
    ledger.report("STARTED", "now").result()
    ledger.report("STOPPED", "now").result()
    ledger.close()
    assert not any(chain.problems for chain in verify(tmp_path))
    connection = sqlite3.connect(tmp_path / DATABASE)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    for table in ("inspections", "decisions", "events"):
        for verb in ("update", "delete"):
            connection.execute(f"DROP TRIGGER {table}_no_{verb}")
    connection.execute(statement)
    connection.commit()
    connection.close()
    problems = [problem for chain in verify(tmp_path) for problem in chain.problems]
    assert any(message in problem for problem in problems), problems


def test_a_cut_off_end_shows_by_the_hash_that_was_noted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for number in range(3):
        ledger.record(row(image_sha256=str(number))).result()
    ledger.close()
    noted = verify(tmp_path)[0].head
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("DROP TRIGGER inspections_no_delete")
    connection.execute("DELETE FROM inspections WHERE id = 3")
    connection.commit()
    connection.close()
    assert not any(chain.problems for chain in verify(tmp_path))  # a chain in itself
    (problem,) = verify(tmp_path, [noted])[0].problems
    assert noted in problem
    ledger = Ledger(tmp_path)
    ledger.record(row(image_sha256="other")).result()  # goes on with another third row
    ledger.close()
    assert verify(tmp_path, [noted])[0].problems


def test_a_review_waits_for_one_decision(ledger: Ledger) -> None:
    ledger.record(row(image_sha256="1", outcome="REVIEW")).result()
    ledger.record(row(image_sha256="2", outcome="FAIL")).result()
    assert ledger.count_undecided() == 1
    assert [own.id for own in ledger.latest(9, undecided=True)] == [1]
    made = ledger.decide(1, "overrule", "ada", "a hair").result()
    assert (made.outcome, made.name, made.note) == ("PASS", "ada", "a hair")
    assert ledger.decision(1) == made
    assert ledger.decisions([1, 2]) == {1: made}
    assert ledger.count_undecided() == 0
    for number, message in (
        (1, "decided by ada"),
        (2, "is FAIL; only REVIEW"),
        (3, "no inspection 3"),
    ):
        with pytest.raises(DecidedError, match=message):
            ledger.decide(number, "agree", "bob", "").result()


def test_hours_count_every_row(ledger: Ledger) -> None:
    for hour, outcome, number in (("08", "PASS", 1), ("08", "FAIL", 2), ("09", "PASS", 3)):
        time = f"2026-01-31T{hour}:00:00.000+00:00"
        ledger.record(row(received_at=time, outcome=outcome, image_sha256=str(number))).result()
    ledger.record(row(outcome="PASS", image_sha256="1")).result()  # a repeat
    assert ledger.hours("2026-01-31T08") == {
        "2026-01-31T08": {"PASS": 1, "FAIL": 1},
        "2026-01-31T09": {"PASS": 1},
    }
    assert list(ledger.hours("2026-01-31T09")) == ["2026-01-31T09"]


def test_the_latest_are_chosen_by_what_is_asked(ledger: Ledger) -> None:
    for number in range(6):
        ledger.record(
            row(
                image_sha256=str(number),
                camera_id="left" if number % 2 else "right",
                outcome="FAIL" if number < 3 else "PASS",
                part_id=f"p{number}",
            )
        ).result()
    assert [own.id for own in ledger.latest(2)] == [6, 5]
    assert [own.id for own in ledger.latest(9, before=3)] == [2, 1]
    assert [own.id for own in ledger.latest(2, after=3)] == [4, 5]
    assert [own.id for own in ledger.latest(9, camera_id="left", outcome="FAIL")] == [2]
    assert [own.id for own in ledger.latest(9, part_id="p4")] == [5]


@pytest.mark.parametrize(
    ("chosen", "index"),
    [
        ({"outcome": "FAIL"}, "by_outcome (outcome=?)"),
        ({"camera_id": "c"}, "by_camera (camera_id=?)"),
        ({"camera_id": "c", "outcome": "FAIL"}, "by_camera_outcome (camera_id=? AND outcome=?)"),
        ({"camera_id": "c", "outcome": "FAIL", "part_id": "p"}, "by_part (part_id=?)"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_the_latest_are_found_without_a_walk_through_the_ledger(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], index: str
) -> None:
    read = ledger.store.read
    plans: list[str] = []

    def note(query: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        plans.extend(row["detail"] for row in read(f"EXPLAIN QUERY PLAN {query}", values))
        return read(query, values)

    monkeypatch.setattr(ledger.store, "read", note)
    ledger.latest(24, **chosen)
    assert plans == [f"SEARCH inspections USING INDEX {index}"]  # nor is anything sorted


def test_a_slow_page_holds_up_no_inspection(ledger: Ledger) -> None:
    count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000000)"
    page = threading.Thread(target=ledger.store.read, args=(f"{count} SELECT COUNT(*) FROM n",))
    page.start()
    time.sleep(0.05)
    assert ledger.find("a") == []
    assert page.is_alive()
    page.join()


def test_a_ledger_without_an_index_is_given_it(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("DROP INDEX by_camera_outcome")
    connection.close()
    ledger = Ledger(tmp_path)
    assert ledger.store.read("SELECT 1 FROM sqlite_master WHERE name = 'by_camera_outcome'")
    ledger.close()


def test_two_stations_do_not_share_a_folder(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Another station is at work"):
        Ledger(tmp_path)


def test_a_folder_of_another_version_is_left_alone(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreError, match="version 99"):
        Ledger(tmp_path)


def test_what_is_no_ledger_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no ledger"):
        verify(tmp_path)
    (tmp_path / DATABASE).write_bytes(b"no database at all, though it has its name" * 99)
    with pytest.raises(StoreError, match="cannot be"):
        verify(tmp_path)
    with pytest.raises(StoreError, match="cannot be"):
        Ledger(tmp_path)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
number = st.none() | st.floats(allow_infinity=False, allow_nan=False)


@settings(max_examples=30, deadline=None)
@given(part=text, reasons=st.lists(text, max_size=3), score=number, sharpness=number)
@example("", [], -0.0, -0.0)  # SQLite gives back 0.0
def test_any_row_keeps_the_chain_whole(
    tmp_path_factory: pytest.TempPathFactory,
    part: str,
    reasons: list[str],
    score: float | None,
    sharpness: float | None,
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    ledger = Ledger(folder)
    given_row = row(part_id=part, reasons=tuple(reasons), score=score, sharpness=sharpness)
    recorded, _ = ledger.record(given_row).result()
    assert ledger.inspection(1) == recorded == replace(given_row, id=1)
    ledger.close()
    assert not any(chain.problems for chain in verify(folder))
    json.dumps(asdict(recorded))


def test_a_row_that_cannot_be_written_costs_no_other(ledger: Ledger, tmp_path: Path) -> None:
    bad = ledger.record(row(image_sha256="1", part_id="\ud800"))
    good = ledger.record(row(image_sha256="2"))
    with pytest.raises(UnicodeEncodeError):
        bad.result()
    assert good.result()[0].id == 1
    assert not any(chain.problems for chain in verify(tmp_path))
