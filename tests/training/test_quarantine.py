"""Training leaves damaged videos out, says so, and draws the same windows when it goes on; the others stop at them."""

import json
import re
import resource

import numpy as np
import pytest
from clips import pictures, write_video

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.sample import sample
from ramvid_vad.commands.train import train
from ramvid_vad.errors import InputError, RunError
from ramvid_vad.training.quarantine import RECORD, decode_or_leave_out
from ramvid_vad.training.weights import load_weights
from ramvid_vad.video import prefetch as prefetch_module
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.reader import find_videos

FLAGS = "--image_size 16x16 --num_channels 32 --channel_mult 1 --num_res_blocks 1 --attention_resolutions 8"
DATA = "--seq_len 4 --anchors prediction --num_prediction_anchors 1"
TINY = f"{FLAGS} {DATA} --log_interval 1 --ema_rate 0.5 --save_interval 2".split()


def damage(path):
    path.write_bytes(path.read_bytes()[:-3000])


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(5):
        write_video(folder / f"{i}.mkv", pictures(6 + i))
    return folder


@pytest.fixture
def look(tmp_path, data):
    """One run's look at the data: (what is left out by name, lines of warning)."""

    def look(max_share=0.5, **options):
        warnings, paths = [], find_videos(str(data))
        cache = FrameCache(str(tmp_path / "cache"), (16, 16))
        (tmp_path / "log").mkdir(exist_ok=True)
        left_out = decode_or_leave_out(
            lambda some, failures: prefetch_module.prefetch(cache, some, workers=1, failures=failures, **options),
            str(data),
            paths,
            str(tmp_path / "log"),
            max_share,
            warnings.append,
        )
        return [path.rsplit("/")[-1] for path in left_out], warnings

    return look


def run_train(tmp_path, *more):
    arguments = [*TINY, "--data_dir", tmp_path / "data", "--cache_dir", tmp_path / "cache", *more]
    train(parse_command("video_train", COMMAND_SECTIONS["video_train"], [str(each) for each in arguments]))


def weights(tmp_path, name):
    return load_weights(str(tmp_path / name / "model000002.safetensors"))[0]


def test_training_leaves_damaged_videos_out_and_lists_them(tmp_path, data, capfd):
    damage(data / "1.mkv")
    (data / "3.mkv").write_bytes(b"")
    run_train(tmp_path, "--max_steps", 2, "--log_dir", tmp_path / "log", "--max_damaged_share", 0.4)
    log = (tmp_path / "log/log.txt").read_text().splitlines()
    warned = [line for line in log if line.startswith("WARNING: left out of the training: ")]
    assert len(warned) == 2 and "1.mkv: " in warned[0] and "3.mkv: an empty file (0 bytes)" in warned[1]
    assert any(line.startswith("3 videos, ") for line in log)
    end = log.index("trained without 2 damaged videos:")
    assert end > log.index(warned[1]) + 2 and "1.mkv" in log[end + 1] and "3.mkv" in log[end + 2]
    assert "3.mkv: an empty file" in capfd.readouterr().err
    # the same as without the files
    for name in ("1.mkv", "3.mkv"):
        (data / name).unlink()
    run_train(tmp_path, "--max_steps", 2, "--log_dir", tmp_path / "without", "--max_damaged_share", 0)
    expected, found = weights(tmp_path, "without"), weights(tmp_path, "log")
    assert all(np.array_equal(expected[key], found[key]) for key in expected)


def test_more_than_the_stated_share_stops_before_training(tmp_path, data):
    damage(data / "1.mkv")
    damage(data / "2.mkv")
    with pytest.raises(InputError, match=r"2 of 5 videos are damaged .* --max_damaged_share 0\.3 allows"):
        run_train(tmp_path, "--max_steps", 2, "--log_dir", tmp_path / "log", "--max_damaged_share", 0.3)
    assert not list((tmp_path / "log").glob("model*"))
    log = (tmp_path / "log/log.txt").read_text()
    assert "1.mkv" in log and "2.mkv" in log


@pytest.mark.parametrize("flags", [["--max_damaged_share", "1.5"], ["--decode_timeout", "0"]])
def test_impossible_values(tmp_path, data, flags):
    with pytest.raises(InputError, match=f"{flags[0]} "):
        run_train(tmp_path, *flags)


def test_a_share_of_exactly_what_is_lost_is_allowed(look, data):
    damage(data / "2.mkv")
    assert look(max_share=0.2)[0] == ["2.mkv"]
    with pytest.raises(InputError, match="1 of 5 videos are damaged"):
        look(max_share=0.19)
    with pytest.raises(InputError, match=r"2\.mkv: "):
        look(max_share=0)


def test_a_run_that_goes_on_leaves_out_the_same_without_trying(look, data, tmp_path, monkeypatch):
    damage(data / "2.mkv")
    first = look()
    record = (tmp_path / "log" / RECORD).read_text()
    monkeypatch.setattr(prefetch_module.subprocess, "Popen", None)  # nothing is decoded
    assert look() == first and len(first[1]) == 1
    assert (tmp_path / "log" / RECORD).read_text() == record
    assert json.loads(record)["videos"] == 5 and list(json.loads(record)["left_out"]) == ["2"]


def test_a_list_that_changes_is_said_clearly(look, data):
    whole = (data / "2.mkv").read_bytes()
    damage(data / "2.mkv")
    assert len(look()[1]) == 1
    (data / "2.mkv").write_bytes(whole)  # mended: tried again
    damage(data / "4.mkv")
    left_out, warnings = look()
    assert left_out == ["4.mkv"]
    assert "without 4; again with 2" in warnings[-1] and "another order" in warnings[-1]
    assert len(look()[1]) == 1


def test_videos_that_came_or_went_are_said(look, data):
    assert look() == ([], [])
    write_video(data / "9.mkv", pictures(8))
    (data / "0.mkv").unlink()
    ((line,), again) = look()[1], look()[1]
    assert "new: 9; gone: 0" in line and "another order" in line and again == []


def test_damage_that_appears_after_a_run_without_any(look, data):
    assert look() == ([], [])
    damage(data / "0.mkv")
    left_out, warnings = look()
    assert left_out == ["0.mkv"] and len(warnings) == 2 and "without 0" in warnings[1]


@pytest.mark.parametrize("text", ["", "[]", '{"left_out": {"1": 3}}', "[" * 10_000])
def test_a_damaged_record(look, tmp_path, text):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / RECORD).write_text(text)
    with pytest.raises(InputError, match=f"{RECORD}: cannot be read .* delete it"):
        look()


def test_files_that_cannot_be_looked_at_are_damaged_videos(look, data):
    (data / "1.mkv").unlink()
    (data / "1.mkv").symlink_to(data / "gone.mkv")
    left_out, warnings = look()
    assert left_out == ["1.mkv"] and "1.mkv: cannot be read" in warnings[0]


def test_a_full_disk_is_no_damage(look):
    """A limit on file size, which the decoding process inherits, stands for the full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cache directory .*: cannot be written"):
            look()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_killed_decoder_is_no_damage(look, monkeypatch):
    def killed(*arguments, **options):
        raise RunError("0.mkv: its decoding process was killed")

    monkeypatch.setattr(prefetch_module, "prefetch", killed)
    with pytest.raises(RunError, match="killed"):
        look()


def test_sampling_stops_at_a_damaged_video(tmp_path, data):
    run_train(tmp_path, "--max_steps", 2, "--log_dir", tmp_path / "log")
    damage(data / "3.mkv")
    for kind in ("windows", "generation"):
        arguments = ["--model_path", tmp_path / "log", "--data_dir", data, "--cache_dir", tmp_path / "cache"]
        arguments += ["--timestep_respacing", "1", "--out_dir", tmp_path / kind, "--sampling_type", kind]
        parsed = parse_command("video_sample", COMMAND_SECTIONS["video_sample"], [str(each) for each in arguments])
        with pytest.raises(InputError, match=re.escape(f"{data}/3.mkv: ")):
            sample(parsed)
        assert not list((tmp_path / kind).glob("*.npz"))
