"""What is read covers the pixels that the tool covers when it draws the shape.

VGG Image Annotator gives its numbers to a canvas as they are, LabelMe to a painter of Qt, which
counts like a canvas. Label Studio's library, Konva, moves the canvas to the centre, turns it, and
draws the ellipse upright. A browser does both here, on a canvas of the image's size, as the tools
do at full size.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Browser

from defectseg.annotations import label_studio, labelme, via
from defectseg.annotations.labels import Shape
from defectseg.dataset.masks import rasterise
from tests.annotations import test_label_studio, test_labelme, test_via
from tests.annotations.folders import HEIGHT, WIDTH

Draw = Callable[[str, Any], npt.NDArray[np.int64]]

_STEPS = {
    "ellipse": "c.ellipse(v.cx, v.cy, v.rx, v.ry, v.theta, 0, 2 * Math.PI)",
    "circle": "c.arc(v.cx, v.cy, v.r, 0, 2 * Math.PI)",
    "polygon": "v.all_points_x.forEach((x, i) => c.lineTo(x, v.all_points_y[i]))",
    "ellipselabels": """
        c.translate(v.x * WIDTH / 100, v.y * HEIGHT / 100);
        c.rotate(v.rotation * Math.PI / 180);
        const [rx, ry] = [v.radiusX * WIDTH / 100, v.radiusY * HEIGHT / 100];
        c.scale(1, ry / rx);
        c.arc(0, 0, rx, 0, 2 * Math.PI)""",
    "labelme polygon": "v.forEach(([x, y]) => c.lineTo(x, y))",
    "labelme circle": """
        const [[x, y], [ox, oy]] = v;
        c.arc(x, y, Math.hypot(ox - x, oy - y), 0, 2 * Math.PI)""",
    "polygonlabels": "v.points.forEach(([x, y]) => c.lineTo(x * WIDTH / 100, y * HEIGHT / 100))",
}


@pytest.fixture(scope="module")
def draw(browser: Browser) -> Draw:
    """Draw a shape with a tool's own numbers; of each pixel, how many of 4 points it covers.

    They lie around the pixel's centre. Its corners are at whole numbers: so the tools put images.
    """
    page = browser.new_page()

    def covered(kind: str, numbers: Any) -> npt.NDArray[np.int64]:
        steps = f"""v => {{
            const c = new OffscreenCanvas(WIDTH, HEIGHT).getContext("2d");
            c.beginPath();
            {_STEPS[kind]};
            c.closePath();
            const count = (x, y) => [0.45, 0.55].flatMap(dx => [0.45, 0.55].map(
                dy => +c.isPointInPath(x + dx, y + dy))).reduce((sum, own) => sum + own);
            return [...Array(WIDTH * HEIGHT).keys()].map(
                n => count(n % WIDTH, Math.floor(n / WIDTH)));
        }}"""
        steps = steps.replace("WIDTH", str(WIDTH)).replace("HEIGHT", str(HEIGHT))
        return np.array(page.evaluate(steps, numbers)).reshape(HEIGHT, WIDTH)

    return covered


def assert_as_drawn(shape: Shape, covered: npt.NDArray[np.int64]) -> None:
    """The same pixels, but for those whose centre lies on the border."""
    mask = rasterise([shape], (HEIGHT, WIDTH))
    clear = (covered == 0) | (covered == 4)
    assert mask.sum() > 40
    assert np.count_nonzero(~clear) < 9
    assert np.array_equal(mask[clear] == 1, covered[clear] == 4)


@pytest.mark.parametrize("theta", [0.524, -1.2, 2.5])
def test_what_via_drew(tmp_path: Path, draw: Draw, theta: float) -> None:
    def change(images: dict[str, Any]) -> None:
        test_via.region(images)["shape_attributes"]["theta"] = theta

    root = test_via.make(tmp_path, change=change)
    labels = json.loads((root / test_via.FILES[0]).read_text())["_via_img_metadata"]
    regions = next(iter(labels.values()))["regions"]
    shapes = via.read(root).images[0].shapes
    assert len(shapes) == len(regions) == 3
    for shape, region in zip(shapes, regions, strict=True):
        numbers = region["shape_attributes"]
        assert_as_drawn(shape, draw(numbers["name"], numbers))


@pytest.mark.parametrize("rotation", [30, 290])
def test_what_label_studio_drew(tmp_path: Path, draw: Draw, rotation: float) -> None:
    root = test_label_studio.make(tmp_path, test_label_studio.value(rotation=rotation))
    tasks = json.loads((root / test_label_studio.FILE).read_text())
    labels = {image.image.name: image for image in label_studio.read(root).images}
    shapes = labels["part_1.png"].shapes
    assert len(shapes) == 2
    for number, shape in enumerate(shapes):
        item = test_label_studio.result(tasks, number)
        assert_as_drawn(shape, draw(item["type"], item["value"]))


@pytest.mark.parametrize(
    ("number", "kind", "points"),
    [
        (0, "labelme polygon", [[3.2, 2.1], [28.7, 6.4], [17.3, 21.6], [14.8, 9.9]]),
        (1, "labelme circle", [[12.3, 11.2], [15.1, 17.9]]),
    ],
)
def test_what_labelme_drew(
    tmp_path: Path, draw: Draw, number: int, kind: str, points: list[list[float]]
) -> None:
    root = test_labelme.make(tmp_path, test_labelme.shape(number, points=points))
    shape = labelme.read(root).images[0].shapes[number]
    assert_as_drawn(shape, draw(kind, points))
