"""Part "networks": a network call and a training step of the thesis's network and of the recipe `full`, against
RaMViD's attention; what each waits for; frames that fit; sampling, and from a window to its scores."""

import re
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from network import with_random_weights
from plain_attention import plain_forward
from rows import Rows, Skip
from torch import nn

from ramvid_vad.inference import infill
from ramvid_vad.loading import anchor_pattern, groups_of, with_anchor_kind
from ramvid_vad.models.precision import network_autocast
from ramvid_vad.options import RunOptions, SampleOptions, parse_image_size
from ramvid_vad.options.config_file import run_of_recipe
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.runtime.randomness import standard_normal
from ramvid_vad.scoring.blobs import wmse_scores
from ramvid_vad.script_util import create_diffusion, create_model
from ramvid_vad.training.loop import TrainLoop
from ramvid_vad.video.datasets import to_uint8

SECTIONS = ("model", "diffusion", "video", "anchors", "space", "train")
GRID = (30, 45)  # cells of a map of UCSD Ped2
# network, mixer, how attention is computed, arithmetic
CONTESTANTS = (
    ("mamba", "", "bf16"),
    ("attention", "fused", "bf16"),
    ("none", "", "bf16"),
    ("attention", "plain", "fp32"),
    ("mamba", "", "fp32"),
)
PROFILED = 10  # steps
BUSY = 0.9  # of a training step: the aim


def questions(rows: Rows, _out: Path) -> None:
    for recipe in ("avenue", "full"):
        batches = (2,) if rows.dry else {"avenue": (1, 4), "full": (2, 32)}[recipe]
        for mixer, way, precision in CONTESTANTS:
            precision = "fp32" if rows.dry else precision
            for batch in batches if precision == "bf16" else batches[:1]:
                name = " ".join(filter(None, (recipe, mixer, way, precision, f"batch {batch}")))
                rows.ask(f"call and step: {name}", partial(call_and_step, rows, recipe, mixer, way, precision, batch))
        for batch in batches:
            name = f"{recipe}, batch {batch}"
            rows.ask(f"training loop: a step and what it waits for, {name}", partial(loop_step, rows, recipe, batch))
            rows.ask(f"training loop: profile, {name}", partial(profile, rows, recipe, batch), cuda_only=True)
            rows.ask(f"training loop: reads that wait, {name}", partial(waits, rows, recipe, batch), cuda_only=True)
    for mixer, way in (("mamba", ""), ("attention", "fused"), ("attention", "plain")):
        rows.ask(
            f"frames that fit in a step: {mixer} {way}", partial(frames_that_fit, rows, mixer, way), cuda_only=True
        )
    rows.ask("torch.compile: a step of avenue", partial(compiled_step, rows), cuda_only=True)
    rows.ask("sampling: 200 calls of avenue, from a window to its scores", partial(window_to_score, rows))


def run_of(rows: Rows, recipe: str, **model: object) -> RunOptions:
    """The recipe; in a dry run its network is made small, with all its kinds of layers."""
    run = with_anchor_kind(run_of_recipe(recipe, SECTIONS)).but("model", **model)
    if rows.dry:
        tiny = {"num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,1"}
        tiny |= {"image_size": "8", "attention_resolutions": "4"} if recipe == "avenue" else {}
        run = run.but("model", **tiny).but("video", seq_len=6 if recipe == "full" else 8)
    return run


def parts_of(rows: Rows, run: RunOptions) -> tuple[nn.Module, tuple[int, ...]]:
    """A network whose layers all do something, and the shape of a window."""
    torch.manual_seed(0)
    groups = tuple(groups_of(run.space).values())
    model = create_model(run.model, groups=groups)
    with_random_weights(model)
    grid = ((4, 5) if rows.dry else GRID) if groups else parse_image_size(run.model.image_size)
    channels = sum(groups) if groups else 3 if run.model.rgb else 1
    return model.to(rows.device), (channels, run.video.seq_len, *grid)


def stepper(
    rows: Rows, run: RunOptions, way: str, precision: str, batch: int
) -> tuple[nn.Module, Callable[[], object], Callable[[], object]]:
    """(network, one call, one forward and backward pass)."""
    model, shape = parts_of(rows, run)
    x, t = torch.randn(batch, *shape, device=rows.device), torch.full((batch,), 500.0, device=rows.device)
    given = torch.zeros(x.shape, dtype=torch.bool, device=rows.device)
    forward = partial(plain_forward, model) if way == "plain" else partial(model, anchors=given)

    def call() -> None:
        with torch.no_grad(), network_autocast(precision, rows.device):
            forward(x, t)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with network_autocast(precision, rows.device):
            y = forward(x, t)
        ((y.float() - x) ** 2).mean().backward()

    return model, call, step


def call_and_step(rows: Rows, recipe: str, mixer: str, way: str, precision: str, batch: int) -> dict:
    run = run_of(rows, recipe, mixer=mixer)
    if way == "plain" and recipe == "full":
        raise Skip("RaMViD's network has no factorised convolutions and no mask channels")
    try:
        model, call, step = stepper(rows, run, way, precision, batch)
        figures = {"parameters M": sum(p.numel() for p in model.parameters()) / 1e6}
        for name, function, repeats in (("call", call, 5), ("step", step, 3)):  # a call before any gradient is kept
            figures[f"{name} ms"] = rows.milliseconds(function, repeats)
            if (gigabytes := rows.peak_gigabytes(function)) is not None:
                figures[f"{name} GB"] = gigabytes
        return figures
    except torch.cuda.OutOfMemoryError:
        raise Skip("does not fit in the GPU's memory") from None


def loop_of(rows: Rows, recipe: str, batch: int, folder: str) -> tuple[TrainLoop, Callable[[], None], tuple[int, ...]]:
    """(the package's own loop on random windows, one step of it after the other, shape of a window)"""
    run = run_of(rows, recipe)
    model, shape = parts_of(rows, run)
    options = replace(run.train, batch_size=batch, max_minutes=0.0, microbatch=-1)
    pattern = anchor_pattern(run.anchors, run.video.seq_len, 0, run.space, shape[2:])
    frames = torch.randn(batch, *shape).clamp(-1, 1)
    loop = TrainLoop(
        model,
        create_diffusion(replace(run.diffusion, timestep_respacing="")),
        lambda start: iter(()),
        pattern,
        options,
        precision="fp32" if rows.dry else "bf16",
        exclude_conditional=True,
        logger=Logger(folder),
        config={},
        channels=tuple(groups_of(run.space).values()),
    )

    def step() -> None:
        loop._train_step(frames, {}, [*range(loop.step * batch, (loop.step + 1) * batch)], 1e-6)
        loop.step += 1

    return loop, step, shape


def loop_step(rows: Rows, recipe: str, batch: int) -> dict:
    """Wall time of whole steps, optimizer and averages included, beside what the host alone must do for each."""
    with tempfile.TemporaryDirectory() as folder:
        loop, step, shape = loop_of(rows, recipe, batch, folder)
        for _ in range(rows.size(3, 1)):
            step()
        count = rows.size(20, 1)
        if rows.device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            step()
        if rows.device.type == "cuda":
            torch.cuda.synchronize()
        taken = 1e3 * (time.perf_counter() - start) / count
        figures = {"step ms": taken, "windows/s": 1e3 * batch / taken}
        figures |= {"parameters M": sum(p.numel() for p in loop.model.parameters()) / 1e6}
        start = time.perf_counter()
        for sample in range(batch):
            standard_normal(shape, 0, "noise", 0, sample)
        figures["noise ms, one thread"] = 1e3 * (time.perf_counter() - start)
        start = time.perf_counter()
        loop.step = rows.size(1000, 1)
        loop._keep()
        loop._save()
        figures["checkpoint s"] = time.perf_counter() - start
    return figures


def profile(rows: Rows, recipe: str, batch: int) -> dict:
    """Share of the steps in which the GPU had something to do, and the kernels that took most of it. Ranges that
    PyTorch names, such as the optimizer's step, lie on the GPU's line too and span its pauses: they are left out."""
    with tempfile.TemporaryDirectory() as folder:
        _, step, _ = loop_of(rows, recipe, batch, folder)
        for _ in range(3):
            step()
        torch.cuda.synchronize()
        both = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=both) as seen:
            for _ in range(PROFILED):
                step()
            torch.cuda.synchronize()
    spans = [
        (event.time_range.start, event.time_range.end, event.name)
        for event in seen.events()
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation
    ]
    share, kernels = busy(spans)
    return {"GPU busy": share, "aim met": share >= BUSY, "kernels": kernels}


def busy(spans: list[tuple[float, float, str]]) -> tuple[float, dict[str, float]]:
    """Intervals (start, end, kernel) -> share of the time from the first to the last in which one runs, and the ten
    kernels that take most, as shares of the time in kernels."""
    if not spans:
        return 0.0, {}
    covered, reached = 0.0, min(start for start, _, _ in spans)
    first = reached
    for start, end, _ in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    sums: dict[str, float] = {}
    for start, end, name in spans:
        short = re.sub(r"<.*", "", name)[:60]
        sums[short] = sums.get(short, 0.0) + end - start
    most = sorted(sums.items(), key=lambda pair: -pair[1])[:10]
    return covered / max(reached - first, 1e-9), {name: taken / sum(sums.values()) for name, taken in most}


def waits(rows: Rows, recipe: str, batch: int) -> dict:
    """How often the host waits for the GPU in a step, as PyTorch itself reports; one reading is meant."""
    with tempfile.TemporaryDirectory() as folder:
        _, step, _ = loop_of(rows, recipe, batch, folder)
        for _ in range(2):
            step()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = [f"{each.filename.rsplit('/', 1)[-1]}:{each.lineno}" for each in said if "synchroniz" in str(each.message)]
    figures = {"waits in a step": len(places), "where": sorted(set(places))}
    assert len(places) <= 1, figures
    return figures


def frames_that_fit(rows: Rows, mixer: str, way: str) -> dict:
    """Largest window of the thesis's network whose training step fits, to an eighth."""

    def fits(frames: int) -> bool:
        run = run_of(rows, "avenue", mixer=mixer).but("video", seq_len=frames)
        try:
            stepper(rows, run, way, "fp32" if way == "plain" else "bf16", 1)[2]()
            torch.cuda.synchronize()
        except torch.cuda.OutOfMemoryError:
            return False
        finally:
            torch.cuda.empty_cache()
        return True

    low, high = 0, 15
    while fits(high) and time.monotonic() < rows.deadline:
        low, high = high, 2 * high
    while low and high - low > max(1, low // 8) and time.monotonic() < rows.deadline:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return {"frames": low, "not any more": high, "GPU GB": torch.cuda.get_device_properties(0).total_memory / 1e9}


def compiled_step(rows: Rows) -> dict:
    run = run_of(rows, "avenue")
    plain = rows.milliseconds(stepper(rows, run, "", "bf16", 1)[2], 5)
    model, shape = parts_of(rows, run)
    fast, x, t = torch.compile(model), torch.randn(1, *shape, device=rows.device), torch.tensor([500.0]).to(rows.device)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with network_autocast("bf16", rows.device):
            y = fast(x, t)
        ((y.float() - x) ** 2).mean().backward()

    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    compiling = time.perf_counter() - start
    taken = rows.milliseconds(step, 5)
    return {"step ms": plain, "compiled ms": taken, "speed-up": plain / taken, "compiling s": compiling}


def window_to_score(rows: Rows) -> dict:
    """Decoded windows -> 200-step ancestral sampling -> WMSE of each frame: all but decoding."""
    run = run_of(rows, "avenue")
    model, shape = parts_of(rows, run)
    spacing, windows = ("200", 2) if not rows.dry else ("2", 1)
    diffusion = create_diffusion(replace(run.diffusion, timestep_respacing=spacing))
    pattern = anchor_pattern(run.anchors, shape[1], 0)
    clean = torch.randn(windows, *shape).clamp(-1, 1)
    start = time.perf_counter()
    made = infill(
        model.eval(),
        diffusion,
        clean.to(rows.device),
        pattern.fixed,
        [(0, 15 * number) for number in range(windows)],
        SampleOptions(),
        precision="fp32" if rows.dry else "bf16",
    )
    real, found = (to_uint8(each).cpu().numpy().reshape(-1, *shape[2:], shape[0]) for each in (clean, made))
    sampled = time.perf_counter() - start
    scores = wmse_scores(real, found)
    taken = time.perf_counter() - start
    assert np.isfinite(scores).all()
    hidden = windows * int((~pattern.fixed).sum())
    figures = {
        "calls": diffusion.num_timesteps,
        "windows": windows,
        "sampling s": sampled,
        "scoring s": taken - sampled,
    }
    return figures | {"s per call": sampled / diffusion.num_timesteps, "scored frames/s": hidden / taken}
