"""The infilling detector: from a training run to scores, stored and loaded, block by block."""

import json
import re

import cv2
import numpy as np
import pytest
import torch
from clips import write_video
from safetensors.torch import load_file
from stand_ins import PooledColours, texture

from ramvid_vad.__main__ import main
from ramvid_vad.api import fit, load
from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.train import train
from ramvid_vad.detectors import detector as detector_module
from ramvid_vad.detectors import infilling as infilling_module
from ramvid_vad.detectors.free_parts import FREE, Usual, appearance_memory, nearest
from ramvid_vad.detectors.fusion import LogScale, log_scale
from ramvid_vad.detectors.infilling import Infilling, blocks
from ramvid_vad.detectors.residual_maps import box_scores
from ramvid_vad.errors import InputError
from ramvid_vad.spaces import features as features_module
from ramvid_vad.spaces.motion import motion_cells


def test_scores_are_the_calibrated_sum_of_the_parts(made):
    folder, detector = made
    normal = detector.score(str(folder / "videos" / "02.mkv"))
    assert set(normal.parts) == {f"{part.name} box 3" for part in detector.parts}
    logs = [np.log(scores) for scores in normal.parts.values()]
    by_hand = sum((log - log.mean()) / log.std() for log in logs)  # the video that it was calibrated on
    np.testing.assert_allclose(normal.frames, by_hand, atol=1e-4)
    other = detector.score(str(folder / "videos" / "00.mkv"))
    floored = {name: np.maximum(other.parts[name], scores.min()) for name, scores in normal.parts.items()}
    by_hand = sum((np.log(floored[n]) - np.log(s).mean()) / np.log(s).std() for n, s in normal.parts.items())
    np.testing.assert_allclose(other.frames, by_hand, atol=1e-3)
    assert other.maps.shape == (14, 5, 7) and other.maps.dtype == np.float32
    assert detector.score(str(folder / "videos" / "00.mkv"), maps=False).maps is None


def test_frames_in_memory_score_as_a_file_does(made, monkeypatch):
    folder, detector = made
    monkeypatch.setattr(detector_module.zlib, "crc32", lambda _: 0)  # noise depends on the file's name
    clip = texture(14, 36, 52, speed=1, seed=0)
    np.testing.assert_allclose(
        detector.score(clip).frames, detector.score(str(folder / "videos" / "00.mkv")).frames, atol=1e-6
    )
    assert len(list(detector.stream(iter(clip[:1])))) == 1  # of a light that flickers


def test_stored_and_loaded_it_scores_the_same(made, tmp_path):
    folder, detector = made
    detector.save(str(tmp_path / "detector"))
    weights = load_file(tmp_path / "detector" / "detector.safetensors")
    assert {value.dtype for name, value in weights.items() if name.startswith("model.")} == {torch.float16}
    assert all(value.dtype == torch.float32 for name, value in weights.items() if name.startswith("space."))
    loaded = load(str(tmp_path / "detector"))
    video = str(folder / "videos" / "01.mkv")
    np.testing.assert_array_equal(loaded.score(video).frames, detector.score(video).frames)
    assert loaded.about() == detector.about() and detector.about()["held_out"] == ["02.mkv"]
    path = tmp_path / "detector" / "detector.json"
    about = json.loads(path.read_text())
    about["settings"]["log_scales"]["none@0.7 appearance box 3"]["sd"] = 0
    path.write_text(json.dumps(about))
    with pytest.raises(InputError, match="not a whole detector"):
        load(str(tmp_path / "detector"))


def test_the_network_is_called_in_bfloat16_where_that_is_the_processors_own(made, monkeypatch):
    folder, detector = made
    called = []
    first_layer = next(layer for layer in detector.model.modules() if isinstance(layer, torch.nn.Conv3d))
    watching = first_layer.register_forward_hook(lambda layer, inputs, output: called.append(output.dtype))
    scores = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        monkeypatch.setattr(infilling_module, "resolve_precision", lambda asked, device, it=precision: it)
        called.clear()
        scores[precision] = detector.score(str(folder / "videos" / "00.mkv"), maps=False).parts
        assert set(called) == {dtype}
    watching.remove()
    for part, exact in scores["fp32"].items():
        np.testing.assert_allclose(scores["bf16"][part], exact, rtol=0.02)


def test_the_averaged_weights_are_taken(made):
    from ramvid_vad.training.weights import load_weights

    folder, detector = made
    averaged, _ = load_weights(str(folder / "run" / "ema_0.5_000002.safetensors"))
    assert all(torch.equal(value, averaged[name].half().float()) for name, value in detector.model.state_dict().items())


def test_a_run_in_pixels_is_refused(made, tmp_path):
    folder, _ = made
    flags = ["--data_dir", str(folder / "videos"), "--log_dir", str(tmp_path / "run"), "--image_size", "16"]
    flags += ["--cache_dir", str(tmp_path / "cache"), "--num_channels", "32", "--num_res_blocks", "1"]
    flags += ["--channel_mult", "1,2", "--seq_len", "6", "--anchors", "infill", "--max_steps", "1"]
    train(parse_command("", COMMAND_SECTIONS["video_train"], flags))
    with pytest.raises(InputError, match="was not made with --space features"):
        Infilling.from_run(str(tmp_path / "run"), [str(folder / "videos" / "02.mkv")], progress=False)


def test_one_without_scales_says_that_it_is_not_calibrated(made):
    folder, _ = made
    detector = Infilling.from_run(str(folder / "run"), [])
    for maps in (False, True):
        with pytest.raises(ValueError, match="not calibrated"):
            detector.score(str(folder / "videos" / "01.mkv"), maps=maps)


def test_a_folder_remembers_where_the_local_weights_of_its_backbone_are(made, tmp_path, monkeypatch):
    _, detector = made
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(detector.space, "weights", "here/backbone.pt")
    detector.card = {}
    detector.save("detector")
    assert load("detector").space.weights == str(tmp_path / "here" / "backbone.pt")


def test_blocks_hold_few_frames_and_end_with_enough_of_them():
    maps = [np.full((1, 2, 2), i, np.float32) for i in range(23)]
    made = list(blocks(maps, 6, 4))
    assert [len(block) for block in made] == [6, 6, 6, 5]
    np.testing.assert_array_equal(np.concatenate(made)[:, 0, 0, 0], np.arange(23))
    assert [len(block) for block in blocks(maps[:21], 6, 4)] == [6, 6, 9]
    assert [len(block) for block in blocks(maps[:2], 6, 4)] == [2] and not list(blocks([], 6, 4))
    assert made[0].dtype == np.float16


def test_a_video_in_blocks_scores_as_in_one(made, monkeypatch):
    """Where a block ends at the end of a window, nothing changes."""
    folder, detector = made
    video = str(folder / "videos" / "01.mkv")
    whole = detector.score(video).parts["none@0.7 appearance box 3"]
    monkeypatch.setattr(infilling_module, "BLOCK", 6)
    in_blocks = detector.score(video).parts["none@0.7 appearance box 3"]
    np.testing.assert_allclose(in_blocks[:6], whole[:6], rtol=1e-4)
    assert len(in_blocks) == 14
    assert box_scores(np.ones((2, 3, 3), np.float32), 3).tolist() == [1, 1]


# --- fit --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick_recipe(monkeypatch):
    """The recipe with a network and a space that take a second."""
    monkeypatch.setattr(features_module, "load_backbone", lambda name, weights="": PooledColours())
    real = infilling_module.run_of_recipe

    def quick(name, sections):
        run = real(name, sections)
        return run.but("space", space_channels=3, tube_cells="2,3").but("train", save_interval=2, log_interval=1)

    monkeypatch.setattr(infilling_module, "run_of_recipe", quick)


def test_fit_trains_calibrates_and_goes_on_where_it_was(quick_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    video = tmp_path / "normal.mkv"
    write_video(video, texture(60, 36, 52, speed=1))
    out = str(tmp_path / "camera")
    detector = fit(str(video), out, recipe="full", progress=False, minutes=0.02)
    assert set(detector.scales) == {f"{name} box {side}" for name, side in infilling_module.RECIPE_BOXES}
    assert detector.held_out == ["normal.mkv from frame 48"] and detector.card["recipe"] == "full"
    log = (tmp_path / "camera" / "training" / "log.txt").read_text()
    assert "1 videos, 43 windows of 6 frames" in log, "the last fifth is held out"
    loaded = load(out)
    scores = loaded.score(str(video))
    np.testing.assert_array_equal(scores.frames, detector.score(str(video)).frames)
    held_out = {name: detector.scales[name](each[48:]) for name, each in scores.parts.items()}
    assert abs(np.mean(held_out["nearest box 5"])) < 1e-5
    # done: the same command trains no further and gives the same detector
    again = fit(str(video), out, recipe="full", progress=False, minutes=0.02)
    assert all(torch.equal(a, b) for a, b in zip(again.tensors().values(), detector.tensors().values(), strict=True))
    write_video(tmp_path / "other.mkv", texture(60, 36, 52, speed=2))
    with pytest.raises(InputError, match="begun with other normal videos: give another --out"):
        fit(str(tmp_path / "other.mkv"), out, recipe="full", progress=False, minutes=0.02)
    with pytest.raises(InputError, match="mode 'slow': choose one of exact, fast, flash"):
        Infilling(detector.space, detector.config, detector.model.state_dict(), mode="slow")


def test_a_signal_ends_fit_and_says_what_goes_on(quick_recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_video(tmp_path / "normal.mkv", texture(60, 36, 52, speed=1))
    real = infilling_module.run_training

    def stopped(*given):
        loop = real(*given)
        loop.stop.name = "SIGTERM"
        return loop

    monkeypatch.setattr(infilling_module, "run_training", stopped)
    words = [str(tmp_path / "normal.mkv"), "--out", str(tmp_path / "out"), "--recipe", "full", "--minutes", "0.01"]
    with pytest.raises(SystemExit) as end:
        main(["fit", *words])
    assert end.value.code == 143
    assert re.search(r"ramvid-vad fit: stopped; the same command goes on from step \d+\n", capsys.readouterr().err)
    assert not (tmp_path / "out" / "detector.json").exists()


def test_a_repeated_frame_has_no_motion_and_sets_no_scale(made):
    """Maps are kept in half precision, and rounding left a speed of some millionths of a pixel, the smallest of all."""
    _, detector = made
    frames = texture(14, 36, 52, speed=2, seed=1)
    again = np.concatenate([frames[:7], frames[6:]])
    maps, plain = (np.stack(list(detector.space.encode(each))).astype(np.float16) for each in (again, frames))
    usual = Usual.of([plain], detector.space)
    for name in ("difference", "flow", "relative_flow"):
        field = FREE[name](detector.space, usual, maps)
        assert not field[7].any() and field[6].all()
        scores = box_scores(field, 3)
        assert log_scale(scores).floor == np.delete(scores, 7).min()


@pytest.mark.parametrize("value", [0.1, 0.3, 7e-5, 1e9])
@pytest.mark.parametrize("count", [1, 7, 75, 360])
def test_scores_that_never_vary_have_a_spread_of_one(value, count):
    """The logarithm's rounding is no spread: a score a tenth higher counted 10^14."""
    assert log_scale(np.full(count, value)).sd == 1 and log_scale(np.zeros(count)).sd == 1


def test_what_is_read_off_the_maps(made, monkeypatch):
    """Difference and flow are those of the frames, and nothing is nearer to a cell than itself."""
    _, detector = made
    frames = texture(14, 36, 52, speed=2, seed=1)
    maps = np.stack(list(detector.space.encode(frames)))
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    cells = motion_cells(grey[5], grey[4])
    np.testing.assert_allclose(FREE["flow"](detector.space, None, maps)[5], np.hypot(cells[0], cells[1]), atol=1e-3)
    np.testing.assert_allclose(FREE["difference"](detector.space, None, maps)[5], np.exp(cells[3]) - 0.5, rtol=1e-3)
    usual = Usual.of([maps], detector.space)
    monkeypatch.setattr("ramvid_vad.detectors.free_parts.BLOCK", 4)  # a long video is read in blocks
    np.testing.assert_array_equal(Usual.of([maps], detector.space).speed.rows, usual.speed.rows)
    speeds = FREE["flow"](detector.space, usual, maps)
    relative = FREE["relative_flow"](detector.space, usual, maps)
    assert len(usual.speed.rows) == maps.shape[2] and np.median(relative) == pytest.approx(1, abs=0.2)
    np.testing.assert_allclose(relative[5], usual.speed.relative(speeds[5], speeds[5]))
    memory = appearance_memory([maps], detector.space)
    assert np.median(nearest(detector.space, memory, maps)) < 1e-2 * np.median(
        nearest(detector.space, memory, maps + 1)
    )


@pytest.mark.parametrize(("name", "kept"), [("difference", ""), ("nearest", "memory"), ("relative_flow", "both")])
def test_parts_without_a_model_are_loaded_with_what_they_compare_with(made, tmp_path, name, kept):
    """The difference compares with nothing, the speed with the usual; with less or more it is no whole detector."""
    _, detector = made
    maps = np.stack(list(detector.space.encode(texture(14, 36, 52, speed=2, seed=1))))
    whole = Usual.of([maps], detector.space)
    for given, usual in {"": None, "memory": whole._replace(speed=None), "both": whole}.items():
        words = {"parts": [], "boxes": [(name, 3)], "scales": {f"{name} box 3": LogScale(0.0, 1.0, 1e-3)}}
        alone = Infilling(detector.space, detector.config, detector.model.state_dict(), **words)
        alone.usual, alone.card = usual, {}
        alone.save(str(tmp_path / given))
        if given == kept or (name, given) == ("nearest", "both"):
            np.testing.assert_array_equal(
                load(str(tmp_path / given)).residuals(maps)[name], alone.residuals(maps)[name]
            )
        else:
            with pytest.raises(InputError, match="not a whole detector"):
                load(str(tmp_path / given))
