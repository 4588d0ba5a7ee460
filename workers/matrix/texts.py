"""Texts as a few numbers: hashed n-grams, weighed by rarity, reduced to the directions in which texts differ most."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array, vstack
from sklearn.decomposition import TruncatedSVD

from trainhouse_loader.encoding.labels import words
from trainhouse_loader.encoding.texts import DIRECTION_FEATURES, HASH_FEATURES, grams, merged, pieces, weighed

Floats = npt.NDArray[np.float64]

MAX_DRAWN_TEXTS = 50_000
MAX_LEARNED_TEXTS = 10_000
MAX_LEARNED_BYTES = 2**23
MAX_MORE_BYTES = 2**21
"""Beyond the texts that directions are learned from, where runs of bytes are taken: of them a text has many more."""
SENTENCE_WORDS = 6.0
STEPS = 3


@dataclass(frozen=True)
class Drawn:
    """The texts that something is learned from.

    Attributes:
        counts: (texts, HASH_FEATURES) sparse counts of n-grams of distinct texts.
        directing: (texts,) Whether the directions are learned from it.
        rows: (rows,) The place of each row's text in `counts`; -1 where it is missing or was not drawn.
        by_words: Whether texts are taken apart into words.
    """

    counts: Any
    directing: npt.NDArray[np.bool_]
    rows: npt.NDArray[np.int64]
    by_words: bool


def draw(series: pd.Series, base: str, *, most: int, seed: int) -> Drawn:
    """Distinct texts of `series`, at most `most` or 8 MiB of them.

    Sentences are taken apart into words and pairs of neighbours, other text into runs of three and four bytes.
    """
    codes = words(series, base).dictionary_encode()
    distinct = codes.dictionary
    some = np.random.default_rng(seed).permutation(len(distinct))[:most]
    ends = np.cumsum(pc.binary_length(distinct).to_numpy(zero_copy_only=False)[some], dtype=np.int64)
    some = some[: max(2, int(np.searchsorted(ends, MAX_LEARNED_BYTES)))]
    first = some[:MAX_LEARNED_TEXTS]
    spaces = pc.mean(pc.count_substring(distinct.take(pa.array(first)), " ")).as_py() or 0.0
    by_words = spaces + 1 >= SENTENCE_WORDS
    if not by_words:
        some = some[: max(len(first), int(np.searchsorted(ends, MAX_MORE_BYTES)))]
    order = np.sort(some)
    place = np.full(len(distinct) + 1, -1, dtype=np.int64)
    place[order] = np.arange(len(order))
    rows = place[codes.indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False)]
    distinct = distinct.take(pa.array(order))
    empty = csr_array((0, HASH_FEATURES))
    counts = vstack([empty, *(grams(texts, by_words=by_words) for texts in pieces(distinct))], format="csr")
    return Drawn(counts, np.isin(order, first), rows, bool(by_words))


def learn(drawn: Drawn, *, dimensions: int, seed: int) -> dict[str, Any]:
    """What `directions` needs."""
    counts = merged(drawn.counts[drawn.directing])
    texts = counts.shape[0]
    held = np.bincount(counts.indices, minlength=DIRECTION_FEATURES)
    idf = np.log((1.0 + texts) / (1.0 + held)) + 1.0
    found = weighed(counts, idf)
    size = max(1, min(dimensions, texts - 1))
    if found.nnz:
        with np.errstate(invalid="ignore"):  # texts that are all alike have no variance to explain
            svd = TruncatedSVD(size, random_state=seed, n_iter=STEPS).fit(found)
        components = svd.components_.astype(np.float32)
    else:
        components = np.zeros((size, DIRECTION_FEATURES), dtype=np.float32)
    used = np.flatnonzero(held)
    return {"by_words": drawn.by_words, "used": used, "idf": idf[used], "components": components[:, used].T.copy()}
