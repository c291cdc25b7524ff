"""What the tests of events share."""

import numpy as np
import pytest

from ramvid_vad.demo.street import generate
from ramvid_vad.video.reader import read_frames


@pytest.fixture(scope="session")
def street_clips(tmp_path_factory) -> list[np.ndarray]:
    """Four normal clips of the synthetic street, 25 frames a second."""
    folder = tmp_path_factory.mktemp("street") / "data"
    generate(str(folder), num_train=4, num_test=1, frames=125, test_frames=30)
    return [np.stack(list(read_frames(str(folder / "training" / f"{i:02d}.mp4")))) for i in range(1, 5)]
