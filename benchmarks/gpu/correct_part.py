"""Part "correct": what was only ever tested on a CPU, or in Triton's interpreter, on the GPU against the same oracles.

The oracles are those of tests/: the scan's definition as a loop in float64 on the CPU, mamba-ssm's and RaMViD's golden
figures, the float64 reference of each operation; and the CPU's own result where there is no other.
"""

import copy
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from golden_figures import CONFIGS, DATA, golden_model, seeded_normal
from network import with_random_weights
from rows import ROOT, Rows, Skip, near
from scan_oracles import double, golden_scan, naive_conv, naive_scan, scan_case, with_gradients
from small_training import train, weights

from ramvid_vad.diffusion.anchors import explicit_anchors, selective_anchors
from ramvid_vad.diffusion.samplers import SAMPLERS, sample_ancestral, sample_ddim
from ramvid_vad.inference import infill
from ramvid_vad.models.mixers import AttentionMixer, MambaMixer
from ramvid_vad.ops import available_backends, causal_conv1d, group_norm, selective_scan
from ramvid_vad.ops.backends import BACKENDS, choose_backend
from ramvid_vad.ops.trust import mistrust
from ramvid_vad.options import SampleOptions
from ramvid_vad.script_util import create_model_and_diffusion

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
EXACT = 1e-4  # of the largest value: what float32 in another order may differ by
VARIES = 3.0  # times what two equal runs differ by: sums on a GPU may run in an order of their own each time
SMALL = dict(
    image_size="16", num_channels=32, num_res_blocks=1, channel_mult="1,2", attention_resolutions="8", rgb=False
)
TINY = SMALL | dict(image_size="8", channel_mult="1,1", attention_resolutions="4")  # in a dry run
STEPS = dict(diffusion_steps=100, noise_schedule="cosine", prediction="xstart", timestep_respacing="3")


def questions(rows: Rows, _out: Path) -> None:
    device = rows.device
    rows.ask("which scan is chosen, and what the reference says of it", partial(choice, device))
    for name in BACKENDS:
        for dtype in DTYPES:
            if (name, device.type) != ("cpu", "cuda"):
                rows.ask(f"scan, {name}, {dtype}: result and gradients", partial(scan, rows, name, DTYPES[dtype]))
    rows.ask("scan: mamba-ssm's golden figures", partial(golden, device))
    rows.ask("causal convolution: result and gradients", partial(convolution, device))
    rows.ask("group norm: result and gradients", partial(norm, device))
    for kind in ("mamba", "attention"):
        rows.ask(f"{kind} mixer: result and gradients", partial(mixer, device, kind))
    for name in CONFIGS if not rows.dry else [*CONFIGS][:1]:
        rows.ask(f"U-Net: RaMViD's golden output, {name}", partial(golden_unet, device, name))
    for figure in ("d_y",) if rows.dry else ("p_y", "d_y"):
        rows.ask(f"sampling: RaMViD's golden loop, {figure}", partial(golden_sampling, device, figure))
    for sampler in SAMPLERS:
        rows.ask(f"sampling, {sampler}: as on the CPU", partial(sampling, rows, sampler))
    for precision in ("bf16", "fp16"):
        slow = "float16 and bfloat16 of a CPU are another path"
        question = partial(low_precision, rows, precision)
        rows.ask(f"sampling in {precision}: near float32 ({slow})", question, cuda_only=True)
    rows.ask("checkpointing changes no gradient", partial(checkpointing, rows))
    rows.ask("a resumed training is the unbroken one", partial(resumed, rows, "fp32"))
    for precision in ("bf16", "fp16"):
        rows.ask(f"training in {precision}: finite, and resumed", partial(resumed, rows, precision), cuda_only=True)
    rows.ask("torch.compile of the network: the same result", partial(compiled, device), cuda_only=True)
    rows.ask("compute-sanitizer over the Triton kernels", sanitizer, cuda_only=True)


def choice(device: torch.device) -> dict:
    found = {}
    for name, dtype in DTYPES.items():
        found[name] = choose_backend("selective_scan", torch.ones(1, 1, 1, device=device, dtype=dtype)).__name__
        found[name] = found[name].split(".")[-1]
        if "triton" in available_backends(device, dtype):
            found[f"triton in {name}"] = mistrust(BACKENDS["triton"], device, dtype) or "equals the reference"
    return found


def on(device: torch.device, case: dict) -> dict:
    return {name: x.to(device) if isinstance(x, torch.Tensor) else x for name, x in case.items()}


def scan(rows: Rows, backend: str, dtype: torch.dtype) -> dict:
    """Result, last state and all gradients against the loop in float64."""
    reason = BACKENDS[backend].unavailable("selective_scan", rows.device, dtype)
    if reason:
        raise Skip(reason)
    tiny, small = [(1, 2, 23, 5), (1, 1, 1, 1)], [(2, 3, 70, 17), (1, 2, 133, 16), (1, 1, 1, 1)]
    worst = 0.0
    for shape in tiny if rows.dry else [*small, (2, 64, 1000, 16), (1, 256, 4099, 16)]:
        for reverse in (False, True):
            case = scan_case(*shape, dtype=dtype, channels_last=reverse)
            weight = torch.sin(torch.arange(case["u"].numel(), dtype=torch.float64)).view(case["u"].shape).to(dtype)
            options = {"delta_softplus": True, "reverse": reverse}
            function = partial(selective_scan, backend=backend, return_last_state=True)
            y, last, gradients = with_gradients(function, on(rows.device, case), weight.to(rows.device), **options)
            exact = with_gradients(naive_scan, double(case), weight, **options)
            eps = torch.finfo(dtype).eps
            worst = max(worst, near(y, exact[0], EXACT, eps), near(last, exact[1], EXACT))
            for name, gradient in gradients.items():
                eps = torch.finfo(gradient.dtype).eps
                worst = max(worst, near(gradient, exact[2][name], EXACT, eps))
    return {"largest difference": worst}


def golden(device: torch.device) -> dict:
    inputs, weight, figures = golden_scan(DATA)
    function = partial(selective_scan, return_last_state=True)
    y, last, gradients = with_gradients(function, on(device, inputs), weight.to(device), delta_softplus=True)
    off = [near(y, figures["scan_y"], EXACT), near(last, figures["scan_last"], EXACT)]
    off += [near(gradient, figures[f"scan_grad_{name}"], EXACT) for name, gradient in gradients.items()]
    return {"largest difference": max(off)}


def convolution(device: torch.device) -> dict:
    torch.manual_seed(0)
    case, off = {"x": torch.randn(2, 5, 67), "weight": torch.randn(5, 4), "bias": torch.randn(5)}, []
    for reverse in (False, True):
        exact = with_gradients(naive_conv, double(case), reverse=reverse)
        found = with_gradients(causal_conv1d, on(device, case), reverse=reverse)
        off += [near(found[0], exact[0], EXACT), *(near(found[2][name], exact[2][name], EXACT) for name in case)]
    return {"largest difference": max(off)}


def norm(device: torch.device) -> dict:
    torch.manual_seed(0)
    case = {"x": torch.randn(2, 64, 3, 5, 4) * 3 + 1, "weight": torch.randn(64), "bias": torch.randn(64)}
    case |= {"scale": torch.randn(2, 64), "shift": torch.randn(2, 64)}
    options = {"groups": 32, "silu": True}
    exact = with_gradients(partial(group_norm, backend="reference"), double(case), **options)
    found = with_gradients(group_norm, on(device, case), **options)
    off = [near(found[0], exact[0], EXACT), *(near(found[2][name], exact[2][name], EXACT) for name in case)]
    return {"largest difference": max(off)}


def mixer(device: torch.device, kind: str) -> dict:
    """Against the same block in float64 on the CPU."""
    torch.manual_seed(0)
    block = with_random_weights(MambaMixer(32) if kind == "mamba" else AttentionMixer(32, 4))
    x = torch.randn(2, 32, 4, 5, 3)
    results = []
    for place, dtype in ((torch.device("cpu"), torch.float64), (device, torch.float32)):
        own, inputs = copy.deepcopy(block).to(place, dtype), x.to(place, dtype).requires_grad_()
        y = own(inputs)
        gradients = torch.autograd.grad((y * torch.sin(y.detach())).sum(), [inputs, *own.parameters()])
        results.append([y, *gradients])
    return {"largest difference": max(near(f, e, EXACT) for e, f in zip(*results, strict=True))}


def golden_unet(device: torch.device, name: str) -> dict:
    expected = torch.from_numpy(np.load(DATA / "ramvid.npz")[f"{name}_y"])
    channels = 3 if CONFIGS[name]["config"].get("rgb", True) else 1
    x = seeded_normal(1, (len(expected), channels, *expected.shape[2:]))
    with torch.no_grad():
        y = golden_model(name)[0].to(device)(x.to(device), torch.tensor(CONFIGS[name]["t"], device=device))
    return {"largest difference": near(y, expected, EXACT)}


def golden_sampling(device: torch.device, figure: str) -> dict:
    sampler, spacing, small = {"p_y": (sample_ancestral, "5", False), "d_y": (sample_ddim, "ddim5", True)}[figure]
    model, diffusion = golden_model("a", timestep_respacing=spacing, sigma_small=small)
    shape, states = (1, 3, 6, 32, 32), []
    result = sampler(
        diffusion,
        model.to(device),
        seeded_normal(50, shape).clamp(-1, 1).to(device),
        explicit_anchors(6, [0, 5])[None].to(device),
        lambda draw: seeded_normal(100 + draw, shape).to(device),
        callback=lambda step, x, x_start: states.append(x),
    )
    assert torch.isfinite(result).all()
    return {"largest difference": near(states[-1], torch.from_numpy(np.load(DATA / "ramvid.npz")[figure]), 1e-3)}


def samples(rows: Rows, device: torch.device, sampler: str, precision: str = "fp32") -> torch.Tensor:
    torch.manual_seed(0)
    model, diffusion = create_model_and_diffusion(**(TINY if rows.dry else SMALL), **STEPS)
    model = with_random_weights(model).eval().to(device)
    side = rows.size(16, 8)
    clean = (torch.rand(2, 1, 8, side, side) * 2 - 1).to(device)
    options = SampleOptions(sampler=sampler)
    with torch.no_grad():
        return infill(model, diffusion, clean, selective_anchors(8), [(0, 0), (1, 15)], options, precision=precision)


def sampling(rows: Rows, sampler: str) -> dict:
    found, expected = (samples(rows, device, sampler) for device in (rows.device, torch.device("cpu")))
    return {"largest difference": near(found, expected, 1e-3)}


def low_precision(rows: Rows, precision: str) -> dict:
    exact, found = (samples(rows, rows.device, "ddim", each) for each in ("fp32", precision))
    off = (exact - found).abs()
    figures = {"mean difference": off.mean().item(), "largest": off.max().item()}
    assert off.mean() < 0.01 and off.max() < 0.15, figures
    return figures


def gradients(rows: Rows, **options: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = with_random_weights(create_model_and_diffusion(**(TINY if rows.dry else SMALL), **options)[0])
    side = rows.size(16, 8)
    x = torch.randn(1, 1, 10, side, side).to(rows.device)
    model.to(rows.device)(x, torch.tensor([500.0], device=rows.device)).square().mean().backward()
    return [parameter.grad for parameter in model.parameters()]


def checkpointing(rows: Rows) -> dict:
    plain, kept = gradients(rows), gradients(rows, use_checkpoint=True)
    return {"largest difference": max(near(a, b, EXACT) for a, b in zip(kept, plain, strict=True))}


def resumed(rows: Rows, precision: str) -> dict:
    """Steps in one go, again, and in two runs; how far two equal runs are apart is what the GPU itself varies by."""
    steps = rows.size(20, 2)
    with tempfile.TemporaryDirectory() as folder:
        whole = train(f"{folder}/a", steps, precision)
        again = train(f"{folder}/b", steps, precision)
        train(f"{folder}/c", steps // 2, precision)
        parts = train(f"{folder}/c", steps, precision)
    whole, again, parts = map(weights, (whole, again, parts))
    found = {"resumed": (parts - whole).norm().item(), "run again": (again - whole).norm().item()}
    found["norm of the weights"] = whole.norm().item()
    assert found["resumed"] <= VARIES * found["run again"] + 1e-9 * found["norm of the weights"], found
    return found


def compiled(device: torch.device) -> dict:
    """Whether it pays is asked by the part "fast"."""
    torch.manual_seed(0)
    model = with_random_weights(create_model_and_diffusion(**SMALL)[0]).eval().to(device)
    x, t = torch.randn(1, 1, 10, 16, 16).to(device), torch.tensor([500.0], device=device)
    with torch.no_grad():
        return {"largest difference": near(torch.compile(model)(x, t), model(x, t), EXACT)}


def sanitizer() -> dict:
    """memcheck and racecheck of the kernels at small sizes, in a process of its own."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        raise Skip("compute-sanitizer is not on the PATH")
    if "triton" not in available_backends("cuda"):
        raise Skip("triton is not installed")
    script = str(ROOT / "benchmarks" / "gpu" / "sanitized.py")
    for check in ("memcheck", "racecheck"):
        command = [tool, "--tool", check, "--error-exitcode", "9", sys.executable, script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=150)
        text = (done.stdout + done.stderr).strip()
        if "not supported" in text:
            raise Skip(f"{check}: {next(line for line in text.splitlines() if 'not supported' in line)}")
        assert done.returncode == 0 and "scan done" in text, f"{check}: {' / '.join(text.splitlines()[-3:])}"
    return {"errors": 0}
