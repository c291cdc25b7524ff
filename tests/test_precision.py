"""Samples of every way to compute the network lie within a stated distance of those of the float32 reference.

Values are in [-1, 1]. A network of random weights amplifies rounding more than a trained one, whose samples it pulls
towards the data; on UCSD Ped2 the AUC of bfloat16 and float32 differs by 0.1 points (docs/performance.md).
"""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from ramvid_vad.diffusion.anchors import selective_anchors
from ramvid_vad.inference import infill
from ramvid_vad.models import precision
from ramvid_vad.models.precision import backward_may_hang
from ramvid_vad.ops import available_backends
from ramvid_vad.options import SampleOptions
from ramvid_vad.script_util import create_model_and_diffusion

SETTINGS = dict(
    image_size="16", num_channels=32, num_res_blocks=1, channel_mult="1,2", attention_resolutions="8", rgb=False
)
DIFFUSION = dict(diffusion_steps=100, noise_schedule="cosine", prediction="xstart", timestep_respacing="4")


def sample(arithmetic: str = "fp32", contiguous: bool = False, **more: object) -> torch.Tensor:
    torch.manual_seed(0)
    model, diffusion = create_model_and_diffusion(**(SETTINGS | DIFFUSION | more))
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    if contiguous:
        model = model.to(memory_format=torch.contiguous_format)
    clean = torch.rand(2, 1, 30, 16, 16) * 2 - 1
    with torch.no_grad():
        return infill(
            model.eval(),
            diffusion,
            clean,
            selective_anchors(30),
            [(0, 0), (1, 15)],
            SampleOptions(sampler="ddim"),
            precision=arithmetic,
        )


@pytest.fixture(scope="module", params=["mamba", "attention"])
def reference(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAMVID_VAD_BACKEND", "reference")
        return request.param, sample(mixer=request.param)


@pytest.mark.parametrize("backend", [name for name in available_backends() if name != "reference"])
def test_backends(reference, backend, monkeypatch):
    mixer, expected = reference
    monkeypatch.setenv("RAMVID_VAD_BACKEND", backend)
    actual = sample(mixer=mixer)
    assert (actual - expected).abs().max() < 1e-4
    assert not torch.equal(actual, expected)  # another way there, or nothing was compared


def test_memory_layout(reference):
    mixer, expected = reference
    assert (sample(mixer=mixer, contiguous=True) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("backend", available_backends())
def test_bfloat16(reference, backend, monkeypatch):
    mixer, expected = reference
    monkeypatch.setenv("RAMVID_VAD_BACKEND", backend)
    shorter = {}
    if precision.slow_precision("bf16", torch.device("cpu")):
        if (mixer, backend) != ("mamba", available_backends()[0]):
            pytest.skip("this processor only imitates bfloat16, minutes for each of these; one is run, of one step")
        shorter = {"timestep_respacing": "1"}
        expected = sample(mixer=mixer, **shorter)
    difference = (sample("bf16", mixer=mixer, **shorter) - expected).abs()
    assert difference.mean() < 0.01
    assert difference.max() < 0.15
    assert difference.max() > 1e-4


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ({}, True),
        ({"precision": "fp32"}, False),
        ({"device": "cuda"}, False),
        ({"frames": 7}, False),
        ({"threads": 1}, False),
        ({"known": {"amx_tile": False}}, False),
        ({"known": {"sve": True}}, False),  # another architecture
        ({"known": None}, True),  # a PyTorch that does not tell
        ({"known": None, "machine": "aarch64"}, False),
    ],
)
def test_a_convolution_that_may_hang_is_known(monkeypatch, setup, expected):
    case = {"precision": "bf16", "device": "cpu", "frames": 6, "threads": 2, "known": {"amx_tile": True}} | setup
    monkeypatch.setattr(torch, "get_num_threads", lambda: case["threads"])
    monkeypatch.setattr("platform.machine", lambda: case.get("machine", "x86_64"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: case["known"], raising=False)
    if case["known"] is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert backward_may_hang(case["precision"], torch.device(case["device"]), case["frames"]) is expected


def test_the_fewest_frames_of_a_network_that_halves_time():
    assert create_model_and_diffusion(**SETTINGS)[0].fewest_frames == 0
    assert create_model_and_diffusion(**SETTINGS, scale_time_dim=30)[0].fewest_frames == 15


def test_checkpointing_changes_no_gradient():
    def gradients(use_checkpoint: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model, _ = create_model_and_diffusion(**SETTINGS, use_checkpoint=use_checkpoint)
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.02)
        model(torch.randn(1, 1, 30, 16, 16), torch.tensor([500.0])).square().mean().backward()
        return [parameter.grad for parameter in model.parameters()]

    for plain, checkpointed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(plain, checkpointed, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bf16_only_where_the_processor_computes_in_it(native, monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(precision, "computes_in_bf16", lambda device: native)
    assert precision.resolve_precision("auto", cpu) == ("bf16" if native else "fp32")
    assert [precision.resolve_precision(name, cpu) for name in ("", "fp32", "bf16")] == ["fp32", "fp32", "bf16"]
    assert bool(precision.slow_precision("bf16", cpu)) is not native
    assert precision.slow_precision("fp32", cpu) == ""


def test_a_cpu_without_avx512_does_not_compute_in_bf16():
    """What the processor says of itself, where it can be asked."""
    told = Path("/proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", told.read_text(), re.M) if told.exists() else None
    if not flags:
        pytest.skip("the processor cannot be asked here")
    assert precision.computes_in_bf16(torch.device("cpu")) == ("avx512bw" in flags[1].split())
