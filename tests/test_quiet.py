import os
from contextlib import suppress

import pytest

from defectseg.quiet import quiet_stderr


def test_native_notes_are_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_stderr():
        os.write(2, b"a note of native code\n")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_notes_are_shown_if_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with suppress(ImportError), quiet_stderr():
        os.write(2, b"why it failed\n")
        raise ImportError
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "why it failed\nafterwards\n"
