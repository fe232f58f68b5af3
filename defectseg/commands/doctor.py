"""What the command doctor does: examine, and show what was found."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from rich.markup import escape

from defectseg.commands.status import OK, SOMETHING_WRONG
from defectseg.console import out, print_json, working
from defectseg.doctor.findings import Finding

_SHOWN = {"ok": "[green]ok[/]   ", "note": "[yellow]note[/] ", "fault": "[red]FAULT[/]"}
_WIDTH = 22  # opencv-python-headless
_INDENT = 2 + len("FAULT") + 1 + _WIDTH + 1


def doctor(model: Path | None, *, as_json: bool) -> int:
    """Examine this machine, and a bundle on it; return the exit status."""
    from defectseg.doctor.examination import examine

    with working("examining"):
        findings = examine(model)
    faults = [finding for finding in findings if finding.state == "fault"]
    if as_json:
        print_json({"works": not faults, "findings": [asdict(own) for own in findings]})
    else:
        _show(findings, faults)
    return SOMETHING_WRONG if faults else OK


def _show(findings: Sequence[Finding], faults: Sequence[Finding]) -> None:
    for topic, own in groupby(findings, lambda finding: finding.topic):
        out.print(f"[bold]{topic}[/]")
        for one in own:
            out.print(f"  {_SHOWN[one.state]} {escape(f'{one.name:<{_WIDTH}} {one.found}')}")
            if one.advice:
                out.print(f"{'':{_INDENT}}[dim]→ {escape(one.advice)}[/]")
    out.print(
        f"[red]{len(faults)} required thing(s) do not work: "
        f"{escape(', '.join(fault.name for fault in faults))}.[/]"
        if faults
        else "All that is required works."
    )
