"""``python -m defectseg`` is the ``defectseg`` command."""

from defectseg.cli import app

app()
