"""Reproducible pseudo-random numbers: functions of integers and text alone, whatever versions are installed.

NumPy does not promise that its generators give the same streams from one version to the next.
"""

from __future__ import annotations

import hashlib

import numpy as np


def mix(values: np.ndarray, key: int) -> np.ndarray:
    """Return uint64 values mixed with a key: the SplitMix64 finalizer (Steele, Lea, Flood 2014) of their sum."""
    mixed = values + np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def draw(key: str, number: int, *, below: int) -> int:
    """Return entry `number` of the pseudo-random sequence named `key`, an integer from 0 to below - 1.

    It uses the first 64 bits of a SHA-256: for `below` up to 2**40, the relative bias is below 1e-7.

    >>> [draw("weights", number, below=10) for number in range(5)]
    [5, 1, 3, 6, 9]
    """
    digest = hashlib.sha256(f"{key}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "little") % below
