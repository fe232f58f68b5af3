"""The figures for Prometheus, read by its own parser."""

from prometheus_client.parser import text_string_to_metric_families

from defectseg.line.metrics import Metrics
from tests.line.test_ledger import row


def read(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample: its name and label values."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def make() -> Metrics:
    return Metrics(lambda: 3, lambda: 2, lambda: 1)


def test_images_are_counted_by_camera_and_outcome() -> None:
    metrics = make()
    for outcome in ("PASS", "PASS", "FAIL"):
        metrics.add(row(outcome=outcome, camera_id="left", total_ms=40))
    samples = read(metrics)
    assert samples["defectseg_images_total", "left", "PASS"] == 2
    assert samples["defectseg_images_total", "left", "FAIL"] == 1
    assert samples["defectseg_latency_seconds_count",] == 3
    assert abs(samples["defectseg_latency_seconds_sum",] - 0.12) < 1e-9
    assert samples["defectseg_queue_length",] == 3
    assert samples["defectseg_reviews_waiting",] == 2
    assert samples["defectseg_ready",] == 1


def test_the_ratio_is_of_sharpness_and_limit() -> None:
    metrics = make()
    metrics.add(row(sharpness=6.0, sharpness_limit=4.0))
    assert read(metrics)["defectseg_sharpness_ratio", "c"] == 1.5
    metrics.add(row(camera_id="other", sharpness=6.0, sharpness_limit=0.0))
    assert ("defectseg_sharpness_ratio", "other") not in read(metrics)


def test_names_that_clients_make_up_do_not_fill_the_memory() -> None:
    metrics = make()
    for number in range(300):
        metrics.add(row(camera_id=f"camera {number}"))
    cameras = {key[1] for key in read(metrics) if key[0] == "defectseg_images_total"}
    assert len(cameras) == 201
    assert "other" in cameras


def test_no_part_is_named() -> None:
    metrics = make()
    metrics.add(row(part_id="SECRET-PART"))
    metrics.add_drift("c", "LOW")
    metrics.refuse("queue_full")
    text = metrics.render().decode()
    assert "SECRET-PART" not in text
    assert 'defectseg_drift_events_total{camera="c",kind="LOW"} 1.0' in text
    assert 'defectseg_refused_total{reason="queue_full"} 1.0' in text
