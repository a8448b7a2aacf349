"""Philox4x32-10 against the known answers published with Random123, and the counters that the shots are drawn from."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from actors.simulation import philox

KNOWN_ANSWERS = [  # counter, key, output: Random123's kat_vectors
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]

philox4x32 = numba.njit(lambda *arguments: philox.philox4x32(*arguments))
fill_words = numba.njit(lambda *arguments: philox.fill_words(*arguments))


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_known_answers(counter, key, expected) -> None:
    assert philox4x32(*map(np.uint64, counter + key)) == expected


def test_words_follow_the_counter_of_draw_displacement_sample_step() -> None:
    key = np.uint64(0x299F31D0A4093822)  # low word first
    words = np.empty(12, np.uint32)
    fill_words(key, 5, 6, 2**40 + 7, words)  # steps count modulo 2**32
    for block in range(3):
        expected = philox4x32(*map(np.uint64, (block, 5, 6, 7, 0xA4093822, 0x299F31D0)))
        assert tuple(int(word) for word in words[4 * block : 4 * block + 4]) == expected
