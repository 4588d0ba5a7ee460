"""Text as numbers: hashed n-grams, weighed by rarity, and their place along the directions that training found."""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from trainhouse_loader.encoding import labels
from trainhouse_loader.mixing import mix

Floats = npt.NDArray[np.float64]
HASH_FEATURES = 2**17
DIRECTION_FEATURES = 2**15
"""Of which directions are made: n-grams that `HASH_FEATURES` tell apart are put together."""
BYTES_AT_A_TIME = 2**21
MOST_CHARACTERS = 20_000
"""Of one text; what comes after is not read."""
BREAKS = r"[^\pL\pN]+"
ODD = np.uint64(0x9E3779B97F4A7C15)
SPANS = (3, 4)


def directions(counts: Any, state: Mapping[str, Any]) -> Floats:
    """(texts, dimensions) of (texts, HASH_FEATURES) counts."""
    found: Floats = weighed(known(merged(counts), state["used"]), state["idf"]) @ state["components"]
    return found


def embed(series: pd.Series, base: str, numbers: Callable[[Any], Floats], out: Floats, *, by_words: bool) -> None:
    """Writes what `numbers` makes of the counts of n-grams; once for each distinct text, and a missing text is empty."""
    codes = labels.words(series, base).fill_null("").dictionary_encode()
    table, start = np.empty((len(codes.dictionary), out.shape[1])), 0
    for texts in pieces(codes.dictionary):
        table[start : start + len(texts)] = numbers(grams(texts, by_words=by_words))
        start += len(texts)
    out[:] = table[codes.indices.to_numpy()]


def pieces(texts: pa.Array) -> Iterator[pa.Array]:
    """`texts` in pieces of about so many bytes, so that long ones need no more memory than many."""
    lengths = np.minimum(pc.binary_length(texts).to_numpy(zero_copy_only=False), 4 * MOST_CHARACTERS)
    piece = np.cumsum(lengths, dtype=np.int64) // BYTES_AT_A_TIME
    starts = [0, *(np.flatnonzero(np.diff(piece)) + 1).tolist(), len(texts)]
    return (texts.slice(start, end - start) for start, end in pairwise(starts) if end > start)


def grams(texts: pa.Array, *, by_words: bool) -> Any:
    """(texts, HASH_FEATURES) sparse counts of hashed n-grams, indices sorted within each row."""
    lower = pc.utf8_lower(pc.utf8_slice_codeunits(texts, 0, MOST_CHARACTERS))
    starts, found = _words(lower) if by_words else _runs(lower)
    indices = (found & np.uint64(HASH_FEATURES - 1)).astype(np.int32)
    ones = np.ones(len(indices), dtype=np.float64)
    counts = csr_array((ones, indices, starts), shape=(len(texts), HASH_FEATURES))
    counts.sum_duplicates()
    return counts


def _words(lower: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """(where each text starts, hashes of its words and of pairs of neighbours)."""
    lists = pc.split_pattern_regex(lower, BREAKS)
    flat = lists.flatten().dictionary_encode()
    known = np.asarray(flat.dictionary.to_numpy(zero_copy_only=False), dtype=object)
    long = pc.utf8_length(flat.dictionary).to_numpy() > 1
    codes = flat.indices.to_numpy()
    text = np.repeat(np.arange(len(lower)), pc.list_value_length(lists).to_numpy())
    said = long[codes]
    text, hashed = text[said], pd.util.hash_array(known, categorize=False)[codes[said]]
    beside = np.flatnonzero(text[1:] == text[:-1]) if len(text) else np.empty(0, dtype=np.int64)
    pairs = mix(hashed[beside] * ODD ^ hashed[beside + 1])
    return _together(len(lower), (text, text[beside]), (mix(hashed), pairs))


def _runs(lower: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """(where each text starts, hashes of its runs of bytes); a blank stands before and after each text."""
    nothing, blank = pa.scalar("", pa.large_string()), pa.scalar(" ", pa.large_string())
    padded = pc.binary_join_element_wise(nothing, lower, nothing, blank).cast(pa.large_binary())
    offsets = np.frombuffer(padded.buffers()[1], dtype=np.int64)[padded.offset : padded.offset + len(padded) + 1]
    data = np.frombuffer(padded.buffers()[2], dtype=np.uint8)[offsets[0] : offsets[-1]].astype(np.uint64)
    owner = np.repeat(np.arange(len(lower)), np.diff(offsets))
    texts, hashed = [], []
    for span in SPANS:
        last = len(data) - span + 1
        if last <= 0:
            continue
        inside = np.flatnonzero(owner[:last] == owner[span - 1 :])
        found = np.full(len(inside), span, dtype=np.uint64)
        for step in range(span):
            found = (found << np.uint64(8)) | data[inside + step]
        texts.append(owner[inside])
        hashed.append(mix(found))
    return _together(len(lower), texts, hashed)


def _together(
    count: int, texts: Any, hashed: Any
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:  # fmt: skip
    """(where each of `count` texts starts, hashes in order of texts)."""
    text = np.concatenate([np.empty(0, dtype=np.int64), *texts])
    found = np.concatenate([np.empty(0, dtype=np.uint64), *hashed])
    order = np.argsort(text, kind="stable")
    return np.searchsorted(text[order], np.arange(count + 1)), found[order]


def merged(counts: Any) -> Any:
    """`counts` of fewer n-grams, which are told apart by fewer bits of their hashes."""
    indices = counts.indices & np.int32(DIRECTION_FEATURES - 1)
    found = csr_array((counts.data.copy(), indices, counts.indptr.copy()), shape=(counts.shape[0], DIRECTION_FEATURES))
    found.sum_duplicates()
    return found


def known(counts: Any, used: npt.NDArray[Any]) -> Any:
    """`counts` without n-grams that are not in `used`, the others renumbered by their place there."""
    place = np.full(counts.shape[1], -1, dtype=np.int32)
    place[used] = np.arange(len(used))
    at = place[counts.indices]
    seen = at >= 0
    starts = np.concatenate(([0], np.cumsum(seen)))[counts.indptr]
    return csr_array((counts.data[seen], at[seen], starts), shape=(counts.shape[0], len(used)))


def weighed(counts: Any, idf: npt.NDArray[Any]) -> Any:
    """Counts dampened, weighed by rarity, and each text scaled to length 1."""
    values = (1.0 + np.log(counts.data)) * idf[counts.indices]
    found = csr_array((values, counts.indices, counts.indptr), shape=counts.shape)
    lengths = np.sqrt(np.asarray(found.multiply(found).sum(axis=1)).reshape(-1))
    found.data /= np.repeat(np.maximum(lengths, 1e-300), np.diff(found.indptr))
    return found
