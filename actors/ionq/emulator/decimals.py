"""The decimal numbers of many JSON texts, found and read at once: what is left of a text is its skeleton.

Array operations over all bytes of a job take a third of the time of a regular expression over each of its circuits. What is no decimal
number as clients write them is left to whoever reads a text by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import orjson

_NUMERIC = bytes(1 if byte in b"0123456789-" else 2 if byte in b"." else 0 for byte in range(256))
"""For bytes.translate: 1 for what a number may hold, 2 for the dot of a decimal one."""
_NO_LETTER_CASE = 0x20


class Cut(NamedTuple):
    """A text cut at its decimal numbers.

    Attributes:
        skeleton: the text without them. values: float64 [D], in the order of the text.
    """

    skeleton: bytes
    values: np.ndarray


class Decimals(NamedTuple):
    """The decimal numbers of a line of text.

    Attributes:
        starts, ends: int64 [D]: where they stand, in bytes. values: float64 [D].
    """

    starts: np.ndarray
    ends: np.ndarray
    values: np.ndarray


def cut(texts: Sequence[str]) -> list[Cut] | None:
    """Each of `texts` cut at its decimal numbers; None if one holds something like a number that is none, see `decimals`."""
    lines = [text.encode() for text in texts]
    content = b"\n".join(lines) + b"\n"
    if content.count(b"\n") != len(lines):
        return None
    found = decimals(content)
    if found is None:
        return None
    is_kept = np.ones(len(content), bool)
    is_kept[_positions(found.starts, found.ends)] = False
    skeletons = np.frombuffer(content, np.uint8)[is_kept].tobytes().split(b"\n")
    line_ends = np.cumsum([len(line) + 1 for line in lines])
    stops = np.searchsorted(found.starts, line_ends).tolist()
    return [
        Cut(skeleton, found.values[start:stop])
        for skeleton, start, stop in zip(skeletons, [0, *stops], stops, strict=False)
    ]


def decimals(content: bytes) -> Decimals | None:
    """The decimal numbers of `content`, such as ``-0.25`` or ``1.5e-05``; None if one of them is written in another way."""
    text = np.frombuffer(content, np.uint8)
    kinds = np.frombuffer(content.translate(_NUMERIC), np.uint8)
    is_number = np.concatenate([[False], kinds != 0, [False]])
    edges = np.flatnonzero(is_number[1:] != is_number[:-1])
    runs = np.searchsorted(edges[::2], np.flatnonzero(kinds == 2), side="right") - 1
    starts, ends = edges[::2][runs], edges[1::2][runs]
    if not len(runs):
        return Decimals(starts, ends, np.empty(0))
    if ends[-1] == len(content):
        return None
    has_exponent = text[ends] | _NO_LETTER_CASE == ord("e")
    if has_exponent.any():
        ends[has_exponent] = np.append(edges[1::2], len(content))[runs[has_exponent] + 1]
        if ends[-1] == len(content):
            return None
    written = text[_positions(starts, ends + 1)]
    written[np.cumsum(ends + 1 - starts) - 1] = ord(",")
    try:
        values = orjson.loads(b"[%b]" % written[:-1].tobytes())
    except orjson.JSONDecodeError:  # a leading zero, two dots, a minus within, an exponent with a plus
        return None
    return Decimals(starts, ends, np.array(values, np.float64))


def _positions(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """int64: all places from each start to before its end."""
    lengths = ends - starts
    offsets = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - offsets, lengths)
