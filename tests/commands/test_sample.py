"""``video_sample.py`` between several ranks: each infills its own share of the windows."""

import pytest

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands import sample


class Job:
    """Stands in for the infilling of a folder: seven batches are missing, and who computes which is noted."""

    def __init__(self):
        self.computed = []

    def pending(self):
        return [1, 2, 3, 5, 7, 8, 9]

    def run(self, model, diffusion, device, precision, batches, progress, stop):
        self.computed = list(batches)

    def missing(self):
        return []

    def finish(self):
        pass


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_each_rank_infills_its_own_share(monkeypatch, tmp_path, world_size):
    shares = []
    for rank in range(world_size):
        job = Job()
        between_ranks = {
            "rank": lambda rank=rank: rank,
            "world_size": lambda: world_size,
            "broadcast_object": lambda mine: (
                mine if isinstance(mine, str) else Job().pending()
            ),  # a folder, or the work
            "any_true": lambda mine: mine,
            "from_rank_0": lambda function: function(),
        }
        for name, function in between_ranks.items():
            monkeypatch.setattr(sample.processes, name, function)
        monkeypatch.setattr(sample, "_infilling", lambda *_, job=job: job)
        monkeypatch.setattr(sample, "result_dir", lambda folder: folder)
        monkeypatch.setattr(sample, "find_videos", lambda *_: ["01"])
        monkeypatch.setattr(sample, "prefetch", lambda *_, **__: 0)
        arguments = ["--out_dir", tmp_path, "--data_dir", "x", "--cache_dir", tmp_path, "--anchors", "selective"]
        parsed = parse_command("", COMMAND_SECTIONS["video_sample"], [str(argument) for argument in arguments])
        assert sample._infill_videos(parsed, {}, None, None)
        shares.append(job.computed)
    assert sorted(number for share in shares for number in share) == [1, 2, 3, 5, 7, 8, 9]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
