"""The nearest normal example against a plain loop over pictures and cells, and its crop."""

import numpy as np
import pytest
import torch

from ramvid_vad.detectors.appearance import evenly
from ramvid_vad.detectors.motion import FrameDifference
from ramvid_vad.events.events import Event
from ramvid_vad.events.examples import Examples, Search, keeping

SIZE = (52, 70)  # not a whole number of cells


class Colours(FrameDifference):
    """Looks at the mean colour of each cell of 8 x 8 pixels."""

    asked = 0

    def looks(self, frame):
        self.asked += 1
        rows, columns = range(0, frame.shape[0], 8), range(0, frame.shape[1], 8)
        means = np.array([[frame[y : y + 8, x : x + 8].mean((0, 1)) for x in columns] for y in rows])
        return torch.from_numpy(means).float() / 64


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Smooth noise: blocks of 16 x 16 pixels."""
    blocks = np.random.default_rng(seed).integers(0, 255, (count, 4, 5, 3), dtype=np.uint8)
    return list(blocks.repeat(16, axis=1).repeat(16, axis=2)[:, : SIZE[0], : SIZE[1]])


@pytest.mark.parametrize("seed", range(3))
def test_the_nearest_is_that_of_a_loop_over_pictures_and_blocks(seed):
    frames, query = pictures(12, seed), pictures(1, 100 + seed)[0]
    examples, detector = Examples(), Colours()
    examples.add(frames, detector, 12)
    assert examples.looks.shape == (12, 4, 5, 3) and examples.looks.dtype == torch.float16
    rng = np.random.default_rng(seed)
    for _ in range(5):
        y, x = rng.integers(0, 3), rng.integers(0, 4)  # of blocks
        height, width = rng.integers(1, 3, 2)
        box = (16 * x + 3, 16 * y + 2, min(16 * (x + width) - 1, 70), min(16 * (y + height) - 4, 52))
        away = []
        for frame in frames:
            squares = [
                np.square((frame[16 * i, 16 * j].astype(float) - query[16 * i, 16 * j]) / 64).sum()
                for i in range(y, min(y + height, 4))
                for j in range(x, min(x + width, 5))
            ]
            away.append(np.mean(squares))
        assert examples.nearest(query, box, detector) == np.argmin(away)
        twice = query.repeat(2, axis=0).repeat(2, axis=1)  # a larger picture, and its box
        assert examples.nearest(twice, [2 * side for side in box], detector) == np.argmin(away)


def test_a_crop_shows_the_box_and_half_of_it_around_at_the_size_of_the_picture():
    frame = np.full((*SIZE, 3), 40, np.uint8)
    frame[16:32, 20:40] = 200
    examples = Examples()
    examples.add([frame], Colours(), 4)
    crop = examples.crop(0, (40, 32, 80, 64), (104, 140))  # of a frame of twice the size
    assert crop.shape == (32, 40, 3)
    bright = np.argwhere(crop[..., 0] > 120)
    assert bright.min(0).tolist() == [8, 10] and bright.max(0).tolist() == [23, 29]
    assert examples.crop(0, (0, 0, 140, 104), (104, 140)).shape == (*SIZE, 3)


def test_what_is_kept_is_bounded_and_spread_and_comes_back():
    frames = pictures(100)
    kept = []
    pairs = ((frame, frame[..., :1]) for frame in frames)
    assert len(list(keeping(pairs, 10, kept))) == 100
    assert [frame.tobytes() for frame in kept] == [frame.tobytes() for frame in evenly(iter(frames), 10)]
    examples, detector = Examples(), Colours()
    examples.add(kept, detector, 6)
    examples.add([pictures(1)[0][:26, :35]], detector, 6)  # of another size
    again = Examples.restore(examples.tensors())
    assert len(again.jpegs) == 7 and again.jpegs == examples.jpegs and torch.equal(again.looks, examples.looks)
    old = Examples.restore({})
    assert old.jpegs == [] and old.nearest(frames[0], (0, 0, 9, 9), detector) is None


def test_an_event_is_searched_for_once_for_each_peak():
    frames, detector = pictures(3), Colours()
    examples = Examples()
    examples.add(frames, detector, 3)
    search, event = Search(examples, detector), Event("c", 0, 0, 0, 0.0, 0.0, 7, 0.0, 2.0, box=(0, 0, 16, 16))
    search.show(event)
    assert event.normal_example is None  # its peak was not seen
    detector.asked = 0
    search.peak(7, frames[2])
    search.show(event)
    search.show(event)
    assert event.normal_example == 2 and detector.asked == 1
    search.peak(9, frames[1])  # of another event
    search.show(event)
    assert event.normal_example == 2 and detector.asked == 1
