"""How much moves: the length of a vector, to the last bit, wherever its numbers lie in memory."""

import numpy as np

from ramvid_vad.detectors.motion import length


def test_the_length_does_not_depend_on_where_the_numbers_lie():
    x, y = np.random.default_rng(0).normal(size=(2, 37, 53)).astype(np.float32)
    expected = np.hypot(x.astype(np.float64), y)
    np.testing.assert_allclose(length(x, y), expected, rtol=2e-7)
    for offset in range(1, 16):
        room = np.empty(x.size + offset, np.float32)
        moved = room[offset:].reshape(x.shape)
        moved[:] = x
        assert length(moved, y).tobytes() == length(x, y).tobytes()
