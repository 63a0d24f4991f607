"""Random numbers that depend on what they are for, and on nothing else.

Every draw that decides a number in a record comes from a generator keyed by (seed, purpose, subject), so the order,
the batching and the number of processes of a run cannot change it.
"""

import hashlib

import numpy as np


def keyed_generator(seed: int, purpose: str, subject: str) -> np.random.Generator:
    """Return the generator that belongs to this seed, purpose and subject (a sequence, say).

    Args:
        seed: the run's seed.
        purpose: what the numbers decide, e.g. ``"targets"``; two purposes never share numbers.
        subject: what they decide it for, e.g. the sequence of a protein.
    """
    digest = hashlib.sha256(f"{seed}\x00{purpose}\x00{subject}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], dtype=np.uint64)))
