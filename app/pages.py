"""Pages for people: templates that escape what they show, one style sheet each, and a policy that allows nothing else."""

import base64
import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup


class Page:
    """A template of a package with its style sheet, both in the package's folder `templates`.

    Attributes:
        policy: The Content-Security-Policy to send with it: no script, no request, and the one style sheet.
    """

    def __init__(self, package: str, name: str) -> None:
        style = resources.files(package).joinpath("templates", f"{name}.css").read_text(encoding="utf-8")
        # The style is the page's own, and escaped it would not be what the policy's digest says.
        self._style = Markup(style)  # noqa: S704
        environment = Environment(loader=PackageLoader(package), autoescape=True, trim_blocks=True, lstrip_blocks=True)
        self._template = environment.get_template(f"{name}.html")
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self.policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )

    def rendered(self, **shown: Any) -> str:
        """The page as HTML."""
        return self._template.render(style=self._style, **shown)
