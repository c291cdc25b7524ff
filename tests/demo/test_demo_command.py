"""The demo hands each command what the one before has written; the command lines it shows can be typed as they are."""

import shlex
from types import SimpleNamespace

import pytest

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.demo import command
from ramvid_vad.errors import RunError


@pytest.fixture
def demo(monkeypatch, tmp_path):
    """Runs the demo with stand-ins for the scene and the three commands; returns the options of each that was called.

    stopped: the command that a signal ends."""

    def run(stopped=""):
        called = {}
        for name in ("train", "sample", "evaluate"):
            monkeypatch.setattr(command, name, lambda run, name=name: [called.update({name: run})] and name != stopped)
        monkeypatch.setattr(command, "generate", lambda folder, seed: None)
        monkeypatch.setattr(command, "find_latest", lambda folder: SimpleNamespace(step=800))
        words = ["--out_dir", str(tmp_path / "a b"), "--scene_seed", "3"]
        try:
            command.demo(parse_command("", COMMAND_SECTIONS["demo"], words))
        except RunError as error:
            return called, str(error)
        return called, ""

    return run


def test_each_command_is_given_what_the_one_before_has_written(demo, tmp_path, capsys):
    called, error = demo()
    top = tmp_path / "a b" / "scene3"
    train, sample, evaluate = (called[name] for name in ("train", "sample", "evaluate"))
    assert not error and train.video.data_dir == f"{top}/scene/training"
    assert sample.video.data_dir == evaluate.eval.data_dir == f"{top}/scene/testing"
    assert train.train.log_dir == sample.sample.model_path == f"{top}/model"
    assert sample.sample.out_dir == evaluate.eval.reconstructions == f"{top}/reconstructions000800"
    assert (evaluate.eval.labels, evaluate.eval.out_dir) == (f"{top}/scene/labels", str(top))
    shown = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if line.startswith("$ ")]
    for words, run in zip(shown, called.values(), strict=True):
        name = words[2].removeprefix("scripts/").removesuffix(".py")
        assert parse_command("", COMMAND_SECTIONS[name], words[3:]).as_yaml() == run.as_yaml()


@pytest.mark.parametrize(("stopped", "verb"), [("train", "trained"), ("sample", "infilled")])
def test_after_a_signal_nothing_more_is_started(demo, stopped, verb):
    called, error = demo(stopped)
    assert list(called)[-1] == stopped
    assert error == f"the demo was stopped while it {verb}; the same command goes on from there"
