"""`python -m app.openapi [PATH]` writes the published contract, by default to docs/openapi.json."""

import json
import sys
from pathlib import Path

from app.main import build
from app.settings import Settings

PUBLISHED = Path("docs/openapi.json")
NOWHERE = {
    "database_url": "postgresql://nobody@127.0.0.1:1/nothing", "s3_endpoint": "127.0.0.1:1", "s3_access_key": "none",
    "s3_secret_key": "none", "secret_keys": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
}  # fmt: skip
"""The contract depends on no engine; these are never reached."""


def rendered() -> str:
    """The contract as the text of the committed file."""
    app = build(Settings.model_validate(NOWHERE))
    return json.dumps(app.openapi(), indent=1, ensure_ascii=False, sort_keys=False) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PUBLISHED
    target.write_text(rendered(), encoding="utf-8")
