"""Every option of training and sampling, changed in a tiny run, changes its result, or is known not to, and why.

An option that no table here names fails the test: a new one must be pulled, too. Those of the evaluation are in
tests/evaluation/test_options_arrive.py, what each does to the arithmetic in tests/training/test_wires.py.
"""

import json
import shutil
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from ramvid_vad import infill_videos
from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands import sample, train
from ramvid_vad.errors import InputError, RunError
from ramvid_vad.loading import FREE_OPTIONS
from ramvid_vad.options import GROUPS
from ramvid_vad.training import data
from ramvid_vad.video.writer import write_video

BASE = (
    "--image_size 8 --num_channels 32 --channel_mult 1 --num_res_blocks 1 --attention_resolutions , --d_state 2 "
    "--num_heads 2 --seq_len 6 --diffusion_steps 24 --data_dir @/videos --cache_dir @/cache "
)
TRAIN = "--lr 1e-2 --max_steps 2 --batch_size 2 --ema_rate 0.5 --log_interval 1 --save_interval 100 --log_dir @/log "
SAMPLE = "--model_path @/trained --timestep_respacing 2 --stride 5 --batch_size 4 --only 01 --out_dir @/out "

# option of training -> (flags of both runs, value in the second one)
TRAINED: dict[str, tuple[str, Any]] = {
    # the network
    "image_size": ("", "8x16"),
    "num_channels": ("", 64),
    "num_res_blocks": ("", 2),
    "channel_mult": ("", "1,1"),
    "num_heads": ("--mixer attention", 4),
    "num_heads_upsample": ("--mixer attention --attention_resolutions 8", 4),
    "attention_resolutions": ("", "8"),
    "mixer": ("", "attention"),
    "scan_order": ("", "time"),
    "scan_merge": ("", "mean"),
    "d_state": ("", 3),
    "patch_size": ("", 2),
    "factorized_conv": ("", True),
    "dropout": ("", 0.5),
    "class_cond": ("", True),
    "use_checkpoint": ("", True),
    "use_scale_shift_norm": ("", False),
    "scale_time_dim": ("--channel_mult 1,1", 6),
    "rgb": ("", False),
    "mask_channel": ("", True),
    # the diffusion process
    "diffusion_steps": ("", 30),
    "noise_schedule": ("", "cosine"),
    "timestep_respacing": ("", "2"),
    "prediction": ("", "xstart"),
    "predict_xstart": ("", True),
    "learn_sigma": ("", True),
    "sigma_small": ("--use_kl True", True),
    "min_snr_gamma": ("", 5.0),
    "use_kl": ("", True),
    "rescale_timesteps": ("", False),
    "rescale_learned_sigmas": ("--learn_sigma True", False),
    # the videos
    "data_dir": ("", "@/others"),
    "only": ("", "0*"),
    "seq_len": ("", 5),
    "keep_aspect": ("", True),
    "cache_dir": ("", "@/cache2"),
    "cache_limit": ("", 1e-6),
    "num_workers": ("", 1),
    "decode_timeout": ("", 60.0),
    # the anchors
    "anchors": ("", "infill"),
    "cond_frames": ("--anchors explicit --cond_frames 0", "1"),
    "num_prediction_anchors": ("--anchors prediction", 2),
    "max_num_mask_frames": ("--anchors random", 1),
    "mask_range": ("--anchors random", "0,4"),
    "uncondition_rate": ("--anchors random", 1.0),
    "exclude_conditional": ("", False),
    # the space; what features are made of is tested in tests/spaces
    "tube_cells": ("--anchors tube --tube_cells 2,3", "5,6"),
    # the loop
    "lr": ("", 2e-2),
    "weight_decay": ("", 0.5),
    "anneal_type": ("--decay 1", "time_based"),
    "lr_anneal_steps": ("", 5),
    "steps_drop": ("--anneal_type step --drop 0.5 --steps_drop 1", 2.0),
    "drop": ("--anneal_type step --drop 0.5 --steps_drop 1", 0.25),
    "decay": ("--anneal_type time_based", 1.0),
    "lr_warmup": ("", 2),
    "batch_size": ("", 1),
    "microbatch": ("", 1),
    "max_steps": ("", 1),
    "max_minutes": ("", 0.05),
    "max_hours": ("", 1e-9),
    "schedule_sampler": (
        "--noise_schedule cosine --diffusion_steps 2 --batch_size 20 --max_steps 3",
        "loss-second-moment",
    ),
    "mirror_windows": ("", True),
    "held_out": ("", 1),
    "held_out_interval": ("--held_out 1", 1),
    "ema_rate": ("", "0.1"),
    "ema_warmup": ("", False),
    "clip": ("", 0.01),
    "precision": ("", "bf16"),
    # whole convolutions take a second in half precision on a processor; the first steps go by until the scale fits
    "use_fp16": ("--max_steps 3 --factorized_conv True", True),
    "fp16_scale_growth": ("--max_steps 5 --factorized_conv True --precision fp16", 0.5),
    "max_skipped_steps": ("--lr 1e30 --max_steps 6", 2),
    "log_interval": ("", 2),
    "save_interval": ("", 1),
    "keep_checkpoints": ("--save_interval 1 --max_steps 3", 2),
    "resume_checkpoint": ("--max_steps 3", "@/trained/model000002.safetensors"),
    "log_dir": ("", "@/log2"),
    "tensorboard": ("", True),
    "max_damaged_share": ("--data_dir @/damaged --max_damaged_share 0.5", 0.1),
    "seed": ("", 5),
}
SAME_WEIGHTS = {  # options of training that must leave every weight as it is, and why
    "use_checkpoint": "the same gradients with less memory; that it computes twice is in test_wires.py",
    "timestep_respacing": "sampling alone walks fewer steps",
    "cache_dir": "where decoded frames are kept says nothing about them",
    "cache_limit": "decoded frames of other runs are removed, those of this one never",
    "num_workers": "the same batches, made ahead",
    "decode_timeout": "how long a decoder that hangs may do so",
    "held_out_interval": "how often the loss of held-out videos is looked at",
    "ema_rate": "averages are made of the weights, which do not feel it",
    "ema_warmup": "averages are made of the weights, which do not feel it",
    "log_interval": "what is told of the same run",
    "save_interval": "what is kept of the same run",
    "keep_checkpoints": "what is kept of the same run",
    "log_dir": "where results go says nothing about them",
    "tensorboard": "what is told of the same run",
}
UNSEEN = {"use_checkpoint", "timestep_respacing"}  # of these, not even files, log or decoding tell
ELSEWHERE = {
    "space",
    "backbone",
    "backbone_weights",
    "space_channels",
    "space_centre",
    "lines",
}  # features: in tests/spaces

# the same of sampling; options of the network and its diffusion that a checkpoint fixes are refused
SAMPLED: dict[str, tuple[str, Any]] = {
    "timestep_respacing": ("", "3"),
    "sigma_small": ("", True),
    "min_snr_gamma": ("", 5.0),
    "use_kl": ("", True),
    "rescale_learned_sigmas": ("", False),
    "use_checkpoint": ("", True),
    "dropout": ("", 0.5),
    # the videos
    "data_dir": ("", "@/others"),
    "only": ("", "x3"),
    "seq_len": ("", 8),
    "keep_aspect": ("", True),
    "cache_dir": ("", "@/cache2"),
    "cache_limit": ("", 1e-6),
    "num_workers": ("", 1),
    "decode_timeout": ("", 60.0),
    # the anchors
    "anchors": ("", "infill"),
    "cond_frames": ("--num_samples 2", "1"),
    "num_prediction_anchors": ("", 2),
    "max_num_mask_frames": ("", 1),
    "mask_range": ("", "0,4"),
    "uncondition_rate": ("", 0.5),
    "exclude_conditional": ("", False),
    # sampling
    "model_path": ("", "@/trained2"),
    "use_ema": ("", False),
    "sampling_type": ("", "generation"),
    "out_dir": ("", "@/out2"),
    "sampler": ("", "heun"),
    "use_ddim": ("", True),
    "eta": ("--sampler ddim", 1.0),
    "clip_denoised": ("", False),
    "resample_steps": ("", 2),
    "stride": ("", 2),
    "extra_windows": ("--stride 6", False),
    "batch_size": ("", 1),
    "num_samples": ("--num_samples 2", 3),
    "cond_generation": ("--num_samples 2", False),
    "num_frames": ("--num_samples 2 --max_cond_frames 2", 9),
    "max_cond_frames": ("--num_samples 2 --num_frames 14 --max_cond_frames 2", 1),
    "prediction_step": ("--num_samples 2 --num_frames 14 --max_cond_frames 2", 1),
    "frechet": ("--num_samples 2", True),
    "save_gt": ("--num_samples 2", True),
    "save_gif": ("--num_samples 2", True),
    "save_mp4": ("--num_samples 2", True),
    "precision": ("", "bf16"),
    "seed": ("", 1),
}
SAME_SAMPLES = {  # options of sampling that must leave every sample as it is, and why
    "min_snr_gamma": "a weight of the loss",
    "use_kl": "another loss",
    "rescale_learned_sigmas": "a weight of the loss",
    "use_checkpoint": "nothing is kept for gradients",
    "dropout": "off while sampling",
    "cache_dir": "where decoded frames are kept says nothing about them",
    "cache_limit": "decoded frames of other runs are removed, those of this one never",
    "num_workers": "the same frames, decoded at once",
    "decode_timeout": "how long a decoder that hangs may do so",
    "max_num_mask_frames": "of the random anchors of training; sampling has the same in every window",
    "mask_range": "of the random anchors of training",
    "uncondition_rate": "of the random anchors of training",
    "exclude_conditional": "which frames the loss is of",
    "out_dir": "where results go says nothing about them",
    "batch_size": "the same windows, several at a time",
    "frechet": "a file more beside the same samples",
    "save_gt": "a file more beside the same samples",
    "save_gif": "a file more beside the same samples",
    "save_mp4": "a file more beside the same samples",
}
UNSEEN_IN_SAMPLES = {
    *("min_snr_gamma", "use_kl", "rescale_learned_sigmas", "use_checkpoint", "dropout"),
    *("max_num_mask_frames", "mask_range", "uncondition_rate", "exclude_conditional"),
}


class Place:
    """Videos, and what runs on them made of their options."""

    def __init__(self, root):
        self.root, self._known = root, {}
        rng = np.random.default_rng(0)
        for folder, names in (("videos", ("01", "02", "x3")), ("others", ("01", "02")), ("damaged", ("01", "02"))):
            (root / folder).mkdir()
            for name in names:
                frames = rng.integers(0, 255, (12, 16, 24, 3), np.uint8)
                write_video(str(root / folder / f"{name}.mp4"), frames)
        (root / "damaged" / "x3.mp4").write_bytes(b"no video")
        for name, seed in (("trained", 123), ("trained2", 7)):
            self._run("video_train", train.train, f"{TRAIN} --lr 1e-1 --log_dir @/{name} --seed {seed}")

    def _run(self, command, function, flags):
        words = f"{BASE} {flags}".replace("@", str(self.root)).split()
        parsed = parse_command(command, COMMAND_SECTIONS[command], words)
        function(parsed)

    def made(self, command, flags, monkeypatch):
        """What a run made: weights, averages, samples, log, files, what decoding was told, its error."""
        if (command, flags) in self._known:
            return self._known[command, flags]
        before = {path.name for path in self.root.iterdir()}
        decoded, batches = [], []
        for module in (data, sample):
            real = module.prefetch

            def prefetch(cache, *given, real=real, **options):
                decoded.append((options["workers"], options["timeout"], cache.limit, cache.cache_dir))
                return real(cache, *given, **options)

            monkeypatch.setattr(module, "prefetch", prefetch)
        infill = infill_videos.infill

        def infilled(model, diffusion, clean, *given, **options):
            batches.append(len(clean))
            return infill(model, diffusion, clean, *given, **options)

        monkeypatch.setattr(infill_videos, "infill", infilled)
        error = ""
        try:
            self._run(command, {"video_train": train.train, "video_sample": sample.sample}[command], flags)
        except (InputError, RunError) as failed:
            error = str(failed)
        monkeypatch.undo()
        folders = [path for path in self.root.iterdir() if path.name not in before and "cache" not in path.name]
        files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
        log = [json.loads(line) for path in files if path.name == "progress.jsonl" for line in path.open()]
        for line in log:
            line.pop("steps_per_second")
        arrays = {path.name: read(path) for path in files if path.suffix in (".safetensors", ".npz")}
        result = {
            "weights": [arrays[name] for name in sorted(arrays) if name.startswith("model")][-1:],
            "averages": {name: arrays[name] for name in arrays if name.startswith("ema")},
            "samples": {name: arrays[name] for name in arrays if name.endswith(".npz") and not name.startswith("gt")},
            "log": log,
            "files": [str(path.relative_to(self.root)) for path in files if "tfevents" not in path.name],
            "told": any("tfevents" in path.name for path in files),
            "decoded": decoded,
            "batches": batches,
            "error": error,
        }
        for folder in folders:
            shutil.rmtree(folder)
        self._known[command, flags] = result
        return result


def read(path):
    """Name -> type, shape and bytes of the arrays in a file, not the settings beside them."""
    arrays = load_file(path) if path.suffix == ".safetensors" else np.load(path)
    names = [key for key in arrays if key != "settings"]
    return {key: (str(arrays[key].dtype), arrays[key].shape, arrays[key].tobytes()) for key in names}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("wires"))


def names_of(*sections):
    return {spec.name for section in sections for spec in fields(GROUPS[section])}


def test_no_option_is_forgotten():
    assert names_of(*COMMAND_SECTIONS["video_train"]) - ELSEWHERE == set(TRAINED)
    fixed = names_of("model", "diffusion") - set(FREE_OPTIONS)
    assert names_of(*COMMAND_SECTIONS["video_sample"]) - fixed == set(SAMPLED)
    assert UNSEEN <= set(SAME_WEIGHTS) <= set(TRAINED) and UNSEEN_IN_SAMPLES <= set(SAME_SAMPLES) <= set(SAMPLED)


@pytest.mark.parametrize("name", list(TRAINED))
def test_an_option_of_training_arrives(place, name, monkeypatch):
    if name == "tensorboard":
        pytest.importorskip("tensorboard")
    flags, value = TRAINED[name]
    before = place.made("video_train", f"{TRAIN} {flags}", monkeypatch)
    after = place.made("video_train", f"{TRAIN} {flags} --{name} {value}", monkeypatch)
    assert not before["error"] or name == "max_skipped_steps", before["error"]  # the base itself is accepted
    if name in SAME_WEIGHTS:
        assert after["weights"] == before["weights"] and not after["error"]
        assert (after == before) == (name in UNSEEN)
    elif name in ("max_skipped_steps", "max_damaged_share"):
        assert after["error"] != before["error"]
    else:
        assert after["weights"] != before["weights"] and not after["error"], after["error"]


@pytest.mark.parametrize("name", list(SAMPLED))
def test_an_option_of_sampling_arrives(place, name, monkeypatch):
    flags, value = SAMPLED[name]
    before = place.made("video_sample", f"{SAMPLE} {flags}", monkeypatch)
    after = place.made("video_sample", f"{SAMPLE} {flags} --{name} {value}", monkeypatch)
    assert not before["error"] and not after["error"] and before["samples"], (before["error"], after["error"])
    if name in SAME_SAMPLES:
        assert after["samples"] == before["samples"]
        assert (after == before) == (name in UNSEEN_IN_SAMPLES)
    else:
        assert after["samples"] != before["samples"]


@pytest.mark.parametrize("name", sorted(names_of("model", "diffusion") - set(FREE_OPTIONS)))
def test_sampling_refuses_what_the_checkpoint_fixes(place, name, monkeypatch):
    after = place.made("video_sample", f"{SAMPLE} --{name} {TRAINED[name][1]}", monkeypatch)
    told = {"predict_xstart": "prediction"}.get(name, name)
    assert after["error"].startswith(f"--{told} ") and not after["samples"]
