"""Numbers scattered over all their bits, one to one."""

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
SEED = np.uint64(0x9E3779B97F4A7C15)
BLOCK = 16_384
"""Rows that fit into a processor's nearest memory."""


def mix(bits: Hashes) -> Hashes:
    """(rows,) Each number scattered over all 64 bits, one to one (the finaliser of SplitMix64)."""
    mixed = bits + SEED
    for start in range(0, len(mixed), BLOCK):
        part = mixed[start : start + BLOCK]
        part ^= part >> np.uint64(30)
        part *= np.uint64(0xBF58476D1CE4E5B9)
        part ^= part >> np.uint64(27)
        part *= np.uint64(0x94D049BB133111EB)
        part ^= part >> np.uint64(31)
    return mixed
