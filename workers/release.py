"""Frees the leases that this node's workers held: run where it is known that none of them lives."""

import sys

from app.db import make_engine
from app.settings import settings
from workers.clerk import release_node


def main() -> None:
    """Frees them and says how many there were."""
    known = settings()
    freed = release_node(make_engine(known, application="release", pooled=False), known.node)
    sys.stdout.write(f"released {freed} jobs of {known.node}\n")


if __name__ == "__main__":
    main()
