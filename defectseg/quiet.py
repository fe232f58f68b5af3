"""Keeps libraries quiet: TensorFlow on the terminal, OpenVINO and NNCF on the network."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what native code writes to the error stream; show it only if the block fails.

    TensorFlow's start-up notes, which no setting of its own stops.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        original = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(original, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)


def block_telemetry() -> None:
    """Keep OpenVINO and NNCF from reporting to their makers; call it before they are imported.

    On an inspection line nothing is sent anywhere unasked. They do without the package that would,
    if it cannot be imported.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
