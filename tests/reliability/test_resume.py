"""A run that goes on is the same run: what may change does, anything else is refused."""

from dataclasses import fields

import pytest
import torch
from tiny_runs import one_video, run_train

from ramvid_vad.errors import InputError
from ramvid_vad.options import TrainOptions
from ramvid_vad.training.checkpoints import Loaded, find_latest, load_checkpoint
from ramvid_vad.training.resume import MAY_CHANGE, warms_up
from ramvid_vad.training.weights import load_weights


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    """One video, and in ``run`` a run of two steps on it."""
    top = tmp_path_factory.mktemp("resume")
    (top / "scene/training").mkdir(parents=True)
    one_video(top / "scene/training")
    run_train(top, top / "run", "--max_steps", 2)
    return top


@pytest.mark.parametrize(
    ("changed", "before"),
    [
        ("--seed 5", "123"),
        ("--seq_len 7", "8"),
        ("--anchors random", "'selective'"),
        ("--min_snr_gamma 5", "0.0"),
        ("--use_kl True", "False"),
        ("--dropout 0.1", "0.0"),
        ("--schedule_sampler loss-second-moment", "'uniform'"),
        ("--exclude_conditional False", "True"),
        ("--ema_warmup False", "True"),
        ("--keep_aspect True", "False"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(top, changed, before):
    with pytest.raises(InputError) as error:
        run_train(top, top / "run", "--max_steps", 3, *changed.split())
    line = str(error.value)
    assert line.startswith(changed.split()[0]) and f"in place of {before}" in line and "begin another" in line
    assert find_latest(str(top / "run")).step == 2


def test_it_can_be_begun_elsewhere_from_the_same_weights_and_then_goes_on_as_itself(top, tmp_path, capfd):
    flags = ["--seed", 5, "--seq_len", 7, "--resume_checkpoint", top / "run/model000002.safetensors"]
    assert run_train(top, tmp_path / "other", "--max_steps", 3, *flags)
    warned = [line for line in capfd.readouterr().err.splitlines() if "another run than that of" in line]
    assert len(warned) == 1 and "--seq_len 7 in place of 8" in warned[0] and "--seed 5 in place of 123" in warned[0]
    assert run_train(top, tmp_path / "other", "--max_steps", 4, *flags)
    assert "another run" not in capfd.readouterr().err
    assert find_latest(str(tmp_path / "other")).step == 4


def test_what_may_change_may_change(top, tmp_path, capfd):
    flags = "--lr 1e-2 --clip 0 --weight_decay 0.1 --lr_warmup 9 --ema_rate 0.5,0.9 --microbatch 1 --precision bf16"
    (tmp_path / "run").symlink_to(top / "run")
    assert run_train(top, tmp_path / "run", "--max_steps", 3, "--save_interval", 9, *flags.split())
    printed = capfd.readouterr()
    assert "going on from step 2" in printed.out and "in place of" not in printed.err
    names = {field.name for field in fields(TrainOptions)}
    assert set(MAY_CHANGE) <= names and names - set(MAY_CHANGE) == {
        *("seed", "schedule_sampler", "ema_warmup", "mirror_windows", "held_out")
    }


def test_only_a_run_of_ours_since_warm_ups_has_one(top):
    loaded = load_checkpoint(find_latest(str(top / "run")), ["0.5"])
    assert warms_up(None) and warms_up(loaded)
    for config in (None, {"model": {}}):  # of RaMViD, of version 0.1
        assert not warms_up(Loaded(100, {}, {}, None, {}, config))


def test_the_same_command_goes_on_with_a_run_that_had_no_warm_up(top, tmp_path):
    """Weights alone, as RaMViD's are: the first call keeps to no warm-up, and so must the second."""
    given = tmp_path / "model000002.pt"
    torch.save(load_weights(str(top / "run/model000002.safetensors"))[0], given)
    flags = ["--resume_checkpoint", given]
    assert run_train(top, tmp_path / "run", "--max_steps", 3, *flags)
    assert run_train(top, tmp_path / "run", "--max_steps", 4, *flags)
    assert find_latest(str(tmp_path / "run")).step == 4
    assert not warms_up(load_checkpoint(find_latest(str(tmp_path / "run")), ["0.5"]))
