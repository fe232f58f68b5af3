from pathlib import Path

from typer.testing import CliRunner

from defectseg.cli import app
from tests.inference import test_preannotations


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, " ".join(result.output.split())


def test_preannotate_says_what_it_wrote_and_what_it_left_out(tmp_path: Path) -> None:
    results, output = test_preannotations.make(tmp_path), tmp_path / "labels.xml"
    options = ("--results", results, "--format", "cvat", "--output", output)
    status, text = run("preannotate", *options, "--shape", "outline", "--label", "dent")
    assert status == 1  # as of the prediction: an image could not be read
    assert "gear/broken.png was not inspected (ERROR), and is left out." in text
    assert "3 images with 3 shapes are in" in text
    assert "unless the task has the label 'dent'" in text
    assert "RETAKE" not in text
    assert output.read_text(encoding="utf-8").count('<polygon label="dent"') == 3

    status, text = run("preannotate", *options)
    assert status == 2
    assert "is left as it is" in text


def test_images_to_be_retaken_are_left_out_with_a_word_and_no_fault(tmp_path: Path) -> None:
    results = test_preannotations.make(tmp_path)
    table = results / "predictions.csv"
    *rows, broken = table.read_text(encoding="utf-8").splitlines(keepends=True)
    assert broken.startswith("gear/broken.png,ERROR")
    table.write_text("".join(rows), encoding="utf-8")
    for image in ("gear/1.png", "gear/3.png"):
        test_preannotations.change_outcome(results, image, "RETAKE")
    output = tmp_path / "labels.json"
    status, text = run("preannotate", "--results", results, "--format", "coco", "--output", output)
    assert status == 0
    assert "1 images with 2 shapes are in" in text
    assert "2 image(s) are left out as RETAKE" in text
    assert "CVAT" not in text
