"""Self-contained HTML pages, all with one look."""

from jinja2 import Environment, PackageLoader


def render(template: str, **values: object) -> bytes:
    """Return a page in UTF-8.

    Parameters
    ----------
    template : str
        The name of a file in ``defectseg/templates``.
    **values
        What the template shows; texts are escaped.
    """
    loader = PackageLoader("defectseg", "templates")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True)
    page = environment.get_template(template).render(values)
    # A file name that is not valid Unicode is shown escaped, not refused.
    return page.encode("utf-8", "backslashreplace")
