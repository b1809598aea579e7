"""Seeds: one named stream of random numbers for each thing that is drawn."""

import hashlib
import json

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of the stream that `names` names under `seed`, e.g. `stream(3, "order", 12)`.

    Streams are keyed by what they are for, never by the order in which they are asked for, so a resumed
    or batched run draws what an uninterrupted or single one draws. Counter-based (Philox; Salmon et al.
    2011, "Parallel random numbers: as easy as 1, 2, 3"), from NumPy, so bits do not depend on torch; but
    NumPy does not promise that its Generator draws the same in every version of it.
    """
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
