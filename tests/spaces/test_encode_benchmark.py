"""benchmarks/encode.py measures the space as it is."""

import numpy as np
import pytest
from encode import by_the_package, moving_texture, space

from ramvid_vad.spaces.backbones import installed


@pytest.mark.skipif(not installed(), reason="the frozen network is not installed")
def test_both_encoders_run():
    frames, made = moving_texture(3), space()
    maps = np.stack(list(made.encode(frames)))
    assert maps.shape == (3, 29, 30, 45) and np.isfinite(maps).all()
    seen = []
    by_the_package(lambda cells: seen.append(cells.shape))(frames)
    assert seen == [(3, 30, 45, 120)]
