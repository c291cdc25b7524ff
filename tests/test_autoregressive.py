"""Videos longer than a window: no seam where windows join, and the same bytes however a run is cut."""

import json

import numpy as np
import pytest
import torch
from clips import write_video
from seams import changes
from seams_exact import GIVEN, WINDOW, long_video

from ramvid_vad import autoregressive
from ramvid_vad.autoregressive import ends_of_windows, generate_long
from ramvid_vad.cli import COMMAND_SECTIONS, parse_command, run_command
from ramvid_vad.commands.sample import sample
from ramvid_vad.commands.train import train
from ramvid_vad.diffusion.anchors import prediction_anchors
from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.diffusion.schedule import named_betas
from ramvid_vad.errors import InputError
from ramvid_vad.options import SampleOptions
from ramvid_vad.reconstructions import PARTS
from ramvid_vad.script_util import create_model_and_diffusion
from ramvid_vad.video.datasets import to_float

MODEL = "--image_size 8 --num_channels 32 --channel_mult 1 --num_res_blocks 1 --attention_resolutions , --seq_len 6"


class Ramp(torch.nn.Module):
    """Knows that every frame is two grey levels brighter than the one before, and reads it off the given ones: x_0."""

    num_classes = None

    def forward(self, x, t, anchors=None, y=None):
        level = (x.mean((1, 3, 4)) * anchors).sum(1) / anchors.sum(1)  # of the mean given frame
        frame = torch.arange(x.shape[2], dtype=torch.float32)
        middle = (frame * anchors).sum(1) / anchors.sum(1)
        made = level[:, None] + (frame - middle[:, None]) * 2 / 127.5
        return made[:, None, :, None, None].expand(x.shape).contiguous()


def ramp(window, given, **options):
    """The long videos of a perfect predictor from ``given`` frames of a ramp."""
    diffusion = GaussianDiffusion(named_betas("linear", 1000), [0, 500, 999], prediction="xstart")
    first = to_float(
        np.full((1, window, 4, 4, 1), 5, np.uint8) + 2 * np.arange(window, dtype=np.uint8)[:, None, None, None]
    )
    anchors = torch.arange(window) < given
    return diffusion, [first[0]] * 3, (1, window, 4, 4), anchors, SampleOptions(**options)


@pytest.mark.parametrize(("kept", "step"), [(5, 0), (1, 0), (5, 3), (7, 2)])
def test_a_perfect_predictor_has_no_seam_in_120_frames(tmp_path, kept, step):
    """Frames lie where they belong: one frame lost, doubled or taken from a wrong place breaks the ramp."""
    way = ramp(10, 5, num_frames=120, max_cond_frames=kept, prediction_step=step)
    made = generate_long(Ramp(), *way, str(tmp_path), torch.device("cpu"), "fp32")
    assert list(made) == [0, 1, 2]
    for video in made.values():
        assert video.shape == (120, 4, 4, 1)
        assert video[:, 0, 0, 0].tolist() == list(range(5, 245, 2)) and np.ptp(video, axis=(1, 2, 3)).max() == 0


def test_with_the_exact_network_of_a_process_joints_are_as_the_inside(monkeypatch):
    """Of a Gaussian process: change at the joints as inside and as in closed form, covariances over the joints those
    of the process. A window whose last kept frame is not given shows at once."""
    network, video = long_video("dpmpp_2m", "logsnr20")
    at, inside = changes(video, WINDOW, GIVEN)
    assert len(at) == 16 and abs(at.mean() - inside.mean()) < 4 * inside.std() / len(at) ** 0.5
    assert [at.mean(), inside.mean()] == pytest.approx([network.change()] * 2, rel=0.02)
    pixels = video[0, ..., 0] / 127.5 - 1
    joints = np.arange(WINDOW, 120, WINDOW - GIVEN)
    for lag in range(WINDOW):
        assert (pixels[joints] * pixels[joints - lag]).mean() == pytest.approx(network.lags[lag].item(), abs=0.002)
    monkeypatch.setattr(autoregressive, "prediction_anchors", lambda count, given: prediction_anchors(count, given - 1))
    at, inside = changes(long_video("dpmpp_2m", "logsnr20", frames=40)[1], WINDOW, GIVEN)
    assert at.mean() > 1.1 * inside.mean()


def test_new_frames_of_each_window_by_hand():
    options = SampleOptions(max_cond_frames=5)
    assert ends_of_windows(20, 10, options) == [10, 15, 20]
    assert ends_of_windows(21, 10, options) == [10, 15, 20, 25]
    assert ends_of_windows(16, 10, SampleOptions(max_cond_frames=5, prediction_step=3)) == [10, 13, 16]
    for values, frames, message in (
        ({"max_cond_frames": 10}, 20, "must be below the 10 frames of a window"),
        ({"prediction_step": 6}, 20, "a window of 10 frames with 5 given has 5 new ones"),
        ({}, 10, "a window has 10 already"),
    ):
        with pytest.raises(InputError, match=message):
            ends_of_windows(frames, 10, SampleOptions(**values))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two videos and a model of two steps, as its own file and as RaMViD's .pt."""
    top = tmp_path_factory.mktemp("long")
    (top / "videos").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        write_video(top / "videos" / f"{name}.mkv", rng.integers(0, 255, (9, 16, 16, 3), np.uint8))
    run("video_train", train, f"{MODEL} --max_steps 2 --lr 1e-2 --anchors random", top, f"--log_dir {top}/model")
    return top


def run(name, command, flags, top, more):
    words = [*flags.split(), "--data_dir", str(top / "videos"), "--cache_dir", str(top / "cache"), *more.split()]
    command(parse_command("", COMMAND_SECTIONS[name], words))


def sampled(top, out, more):
    flags = f"--model_path {top}/model --num_samples 3 --cond_frames 0,1 --timestep_respacing 2 --out_dir {out}"
    run("video_sample", sample, flags, top, more)
    return {path.name: np.load(path)["arr_0"] for path in out.glob("samples_*.npz")}


LONG = "--num_frames 17 --max_cond_frames 2"


def test_it_begins_as_the_single_window_and_each_window_goes_on_from_the_last_frames(made, tmp_path):
    one = sampled(made, tmp_path / "one", "")["samples_3x6x8x8x3.npz"]
    long = sampled(made, tmp_path / "long", LONG)["samples_3x17x8x8x3.npz"]
    np.testing.assert_array_equal(long[:, :6], one)
    assert len({frame.tobytes() for frame in long[0]}) == 17
    # no leftovers, and the settings that made it
    assert {path.name for path in (tmp_path / "long").iterdir()} == {"samples_3x17x8x8x3.npz", "settings.json"}
    assert json.loads((tmp_path / "long" / "settings.json").read_text())["num_frames"] == 17


@pytest.mark.parametrize(("more", "at_once"), [("--batch_size 1", 1), ("--batch_size 2", 4), ("--batch_size 3", 4)])
def test_a_killed_run_goes_on_with_the_same_bytes(made, tmp_path, monkeypatch, more, at_once):
    """Those of an unbroken run, which makes four samples at once; one at a time rounds otherwise (next test)."""
    whole = sampled(made, tmp_path / "whole", f"{LONG} --batch_size {at_once}")
    calls, infill = [], autoregressive.infill

    def killed(*given, **options):
        calls.append(len(given[2]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return infill(*given, **options)

    monkeypatch.setattr(autoregressive, "infill", killed)
    with pytest.raises(KeyboardInterrupt):
        sampled(made, tmp_path / "parts", f"{LONG} {more}")
    assert list((tmp_path / "parts" / PARTS).rglob("*.npz"))
    again = sampled(made, tmp_path / "parts", f"{LONG} {more}")
    assert again.keys() == whole.keys()
    for name, frames in again.items():
        np.testing.assert_array_equal(frames, whole[name])
    finished = sum(calls[:2])
    assert sum(calls[3:]) == 3 * 4 - finished  # windows of three samples that were not there yet
    with pytest.raises(InputError, match="holds samples made with another num_frames"):
        sampled(made, tmp_path / "parts", f"{LONG} --num_frames 18")


def test_one_sample_at_a_time_differs_by_rounding_alone(made, tmp_path):
    """PyTorch convolves one small window in float32 by another kernel than several (docs/performance.md)."""
    together, apart = (sampled(made, tmp_path / str(n), f"{LONG} --batch_size {n}") for n in (4, 1))
    for name, frames in apart.items():
        difference = np.abs(frames.astype(int) - together[name])
        assert difference.max() <= 1 and np.mean(difference > 0) < 0.001


def test_ranks_share_the_samples(tmp_path):
    way = ramp(10, 5, num_frames=20, max_cond_frames=5)
    each = [generate_long(Ramp(), *way, str(tmp_path / "x"), torch.device("cpu"), "fp32", r, 2) for r in range(2)]
    assert [list(found) for found in each] == [[0, 2], [1]]


def test_ramvids_own_file_goes_through_every_mode(made, tmp_path, capsys):
    """A .pt of attention, without a configuration: generation, prediction, infilling, long, whole videos."""
    flags = MODEL.replace("--attention_resolutions ,", "--attention_resolutions 8")
    options = parse_command("", ("model", "diffusion"), [*flags.split()[:-2], "--mixer", "attention"])
    torch.manual_seed(0)
    model, _ = create_model_and_diffusion(**vars(options.model), **vars(options.diffusion))
    torch.save(model.state_dict(), tmp_path / "ema_0.9999_000100.pt")
    common = f"{flags} --model_path {tmp_path}/ema_0.9999_000100.pt --timestep_respacing 1"
    real = None
    for number, (mode, given) in enumerate(
        (
            ("--cond_generation False", []),
            ("--cond_frames 0,1", [0, 1]),
            ("--cond_frames 0,5", [0, 5]),
            ("--anchors selective", [0, 1, 4, 5]),
            ("--cond_frames 0,1, --num_frames 15 --max_cond_frames 3", [0, 1]),
        )
    ):
        out = tmp_path / str(number)
        run("video_sample", sample, f"{common} --num_samples 2 {mode} --save_gt True --out_dir {out}", made, "")
        frames = np.load(next(out.glob("samples_*.npz")))["arr_0"]
        assert frames.shape == (2, 15 if "num_frames" in mode else 6, 8, 8, 3)
        if given:
            real = np.load(next(out.glob("gt_*.npz")))["arr_0"]
            np.testing.assert_array_equal(frames[:, given], real[:, given])
            hidden = min(set(range(6)) - set(given))
            assert (frames[:, hidden] != real[:, hidden]).any()
    run("video_sample", sample, f"{common} --anchors infill --stride 4 --out_dir {tmp_path}/w", made, "")
    assert "reconstructions of 2 videos" in capsys.readouterr().out


@pytest.mark.parametrize(("more", "how"), [("", "begins again"), (LONG, "goes on from what is finished")])
def test_what_a_stopped_run_does_again_is_said(made, tmp_path, monkeypatch, capsys, more, how):
    """Single windows are not kept; long videos are."""

    def stopped(*given):
        raise KeyboardInterrupt

    for name in ("generate", "generate_long"):
        monkeypatch.setattr(f"ramvid_vad.commands.sample.{name}", stopped)
    words = f"--model_path {made}/model --num_samples 1 --cond_frames 0,1 --timestep_respacing 2 {more}".split()
    words += ["--data_dir", str(made / "videos"), "--cache_dir", str(made / "cache"), "--out_dir", str(tmp_path)]
    with pytest.raises(SystemExit) as end:
        run_command("video_sample", None, sample, words)
    assert end.value.code == 130 and capsys.readouterr().err.endswith(f"stopped; the same command {how}\n")


def test_the_benchmark_looks_at_the_joints():
    """A jump of 9 levels where each window after the first begins, 1 level elsewhere."""
    steps = np.ones(20, np.uint8)
    steps[[10, 15]] = 9
    videos = np.broadcast_to(np.cumsum(steps).astype(np.uint8)[None, :, None, None, None], (2, 20, 4, 4, 1))
    at, inside = changes(videos, 10, 5)
    assert at.tolist() == [9] * 4 and inside.tolist() == [1] * 24


@pytest.mark.parametrize("name", ["bair", "kinetics600", "ucf101"])
def test_ramvids_recipes_on_real_video(name, shared, tmp_path):
    """Each recipe with a smaller network: its masks, microbatches and window, trained and predicted on."""
    small = "--image_size 16 --num_channels 32 --num_res_blocks 1 --channel_mult 1,2 --attention_resolutions 8"
    places = f"--data_dir {shared / 'data' / 'ped2' / 'training'} --only 01,02 --cache_dir {tmp_path}/cache"
    recipe = f"--config ramvid_{name} {small} {places}"
    words = f"{recipe} --max_steps 1 --log_dir {tmp_path}/model".split()
    train(parse_command("", COMMAND_SECTIONS["video_train"], words))
    given = f"{places} --model_path {tmp_path}/model --timestep_respacing 1 --out_dir {tmp_path}/out"
    for mode in ("--cond_generation False", "--cond_frames 0,1,2,3,4 --num_frames 40"):
        words = f"{given} --num_samples 1 {mode}".split()
        sample(parse_command("", COMMAND_SECTIONS["video_sample"], words))
    length = {"bair": 20, "kinetics600": 16, "ucf101": 16}[name]
    shapes = {path.name for path in (tmp_path / "out").glob("samples_*.npz")}
    assert shapes == {f"samples_1x{length}x16x16x3.npz", "samples_1x40x16x16x3.npz"}
