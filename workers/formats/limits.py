"""How far a file may grow while it is read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What reading one file may take.

    Attributes:
        expanded_bytes: No input may grow beyond this when it is unpacked.
        ratio: Nor, once it is larger than `large_bytes`, beyond this many times its stored size.
        memory_bytes: Address space beyond what the process has when it starts; None sets no limit.
        cpu_seconds: Processor time; None sets no limit.
    """

    expanded_bytes: int = 16 * 1024**3
    ratio: int = 250
    large_bytes: int = 256 * 1024**2
    memory_bytes: int | None = None
    cpu_seconds: int | None = None
