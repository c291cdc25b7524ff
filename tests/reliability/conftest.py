"""A tiny scene with a run of four steps, and one of ten that nothing disturbed."""

from types import SimpleNamespace

import pytest
from tiny_runs import run_sample, run_train

from ramvid_vad.demo.street import generate


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """top: scene and cache; model: steps 2 and 4; whole: up to step 10; filled: reconstructions by model."""
    top = tmp_path_factory.mktemp("made")
    generate(str(top / "scene"), size=(32, 48), num_train=2, num_test=3, frames=20, test_frames=20)
    run_train(top, top / "model", "--max_steps", 4)
    run_train(top, top / "whole", "--max_steps", 10)
    run_sample(top, top / "filled")
    return SimpleNamespace(top=top, model=top / "model", whole=top / "whole", filled=top / "filled")
