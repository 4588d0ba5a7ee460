"""`python -m app.openapi [PATH]` writes the published contract, by default to docs/openapi.json."""

import argparse
import json
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
    parser = argparse.ArgumentParser(prog="python -m app.openapi", description="Writes the published contract.")
    parser.add_argument("path", nargs="?", type=Path, default=PUBLISHED, help="where to (default: %(default)s)")
    parser.parse_args().path.write_text(rendered(), encoding="utf-8")
