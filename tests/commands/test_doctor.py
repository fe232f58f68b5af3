import json

import pytest
from typer.testing import CliRunner

from defectseg.cli import app
from defectseg.doctor import examination
from defectseg.doctor.findings import Finding

FINE = Finding("machine", "Python", "ok", "3.11 [x]")
MISSING = Finding("extra", "mqtt", "note", "missing", "pip install 'paho-mqtt'")
BROKEN = Finding("engine", "keras", "fault", "it crashed by SIGILL", "see above")


@pytest.mark.parametrize(
    ("findings", "status", "end"),
    [
        ([FINE, MISSING], 0, "All that is required works."),
        ([FINE, BROKEN], 1, "1 required thing(s) do not work: keras."),
    ],
)
def test_what_was_found_decides_the_exit_status(
    findings: list[Finding], status: int, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "examine", lambda model: findings)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == status
    assert done.output.splitlines()[-1] == end
    for finding in findings:
        assert finding.found in done.output
        assert finding.advice in done.output

    done = CliRunner().invoke(app, ["doctor", "--json"])
    record = json.loads(done.stdout)
    assert (done.exit_code, record["works"]) == (status, not status)
    assert [Finding(**own) for own in record["findings"]] == findings
