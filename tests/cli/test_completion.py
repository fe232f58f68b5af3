"""Completion as the shells ask for it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from defectseg.cli import app

ASK = "_DEFECTSEG_COMPLETE"


def complete(line: str) -> list[str]:
    """What bash is offered for the last word of a line."""
    words = line.split(" ")
    asked = {ASK: "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    return CliRunner().invoke(app, [], env=asked, prog_name="defectseg").output.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("defectseg prep", {"prepare"}),
        ("defectseg line ver", {"verify"}),
        ("defectseg predict --j", {"--json-lines"}),
        ("defectseg prepare --layout t", {"table"}),
        ("defectseg export --format on", {"onnx"}),
        ("defectseg train --config configs/de", {"configs/demo.yaml"}),
        ("defectseg predict --input ", set()),  # files, which bash knows
    ],
)
def test_commands_options_and_values_are_completed(line: str, expected: set[str]) -> None:
    assert set(complete(line)) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str) -> None:
    done = CliRunner().invoke(app, [], env={ASK: f"source_{shell}"}, prog_name="defectseg")
    assert (done.exit_code, ASK in done.output) == (0, True)


def test_bash_completes_by_its_script(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    command = tmp_path / "defectseg"
    command.write_text(
        f"#!{sys.executable}\nfrom defectseg.cli import app\napp(prog_name='defectseg')\n"
    )
    command.chmod(0o755)
    script = (
        f'eval "$({ASK}=source_bash {command})"; COMP_WORDS=(defectseg predict --en); COMP_CWORD=2;'
        f" _defectseg_completion {command}; echo ${{COMPREPLY[@]}}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("--engine\n", "")


def test_completing_does_not_wait_for_large_libraries() -> None:
    code = (
        "import os, sys\n"
        f"os.environ |= {{'{ASK}': 'complete_bash', 'COMP_WORDS': 'defectseg predict --model ',"
        " 'COMP_CWORD': '3'}\n"
        "from defectseg.cli import app\n"
        "try:\n    app(prog_name='defectseg')\n"
        "finally:\n    print({'tensorflow', 'pandas', 'numpy', 'openvino'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("set()\n"), done.stderr
