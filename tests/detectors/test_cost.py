"""What a detector costs, against figures counted by hand, in a process of its own."""

import numpy as np
import pytest
import torch
from clips import write_video
from stand_ins import texture

from ramvid_vad.detectors import cost
from ramvid_vad.detectors.cost import measured_cost
from ramvid_vad.detectors.detector import Scores, colour
from ramvid_vad.detectors.motion import FrameDifference
from ramvid_vad.runtime.beside import in_threads


class Convolving(FrameDifference):
    """One convolution per frame: 3 -> 5 channels, 3 x 3, and a product of its 5 means with a 5 x 7 matrix. In threads,
    where there is more than one core."""

    def score(self, video, maps=True, tick=lambda frames: None):
        return Scores(np.array(in_threads(self._score, list(colour(video)))))

    def _score(self, frame):
        with torch.inference_mode():
            x = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
            y = torch.nn.functional.conv2d(x, torch.ones(5, 3, 3, 3), padding=1).mean((2, 3))
            return float((y @ torch.ones(5, 7)).sum())

    def tensors(self):
        return {"a": torch.zeros(5, 3, 3, 3), "b": torch.zeros(5, 7)}


def test_operations_are_those_counted_by_hand(tmp_path, monkeypatch):
    video = str(write_video(tmp_path / "v.mkv", texture(12, 24, 40, speed=1, seed=0)))
    monkeypatch.setattr(cost, "load", lambda folder, known: Convolving())
    monkeypatch.setattr(cost, "FRAMES", 4)
    found = cost._measure("", video)
    assert found["flops_per_frame"] == 2 * (24 * 40 * 5 * 3 * 9) + 2 * 5 * 7
    assert found["learned"] == 5 * 3 * 9 + 5 * 7


def test_it_is_measured_in_a_process_of_its_own(tmp_path):
    video = str(write_video(tmp_path / "v.mkv", texture(12, 24, 40, speed=1, seed=0)))
    FrameDifference().save(str(tmp_path / "d"))
    here = bytearray(800 << 20)  # of this process, and not of that one
    here[::4096] = b"x" * len(here[::4096])
    found = measured_cost(str(tmp_path / "d"), video)
    assert 0 < found["peak_memory_mb"] < 800 and found["flops_per_frame"] == 0 == found["learned"]
    with pytest.raises(Exception, match="no fitted detector"):
        measured_cost(str(tmp_path / "none"), video)
