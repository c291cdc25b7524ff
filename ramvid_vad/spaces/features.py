"""How each cell of 8 x 8 pixels looks to a frozen network, and how it moves: the space in which anomalies show.

Group ``appearance``: the network's channels, standardised, on their K principal axes with damped whitening. Group
``motion``: optical flow and difference per cell, standardised. The mean subtracted is one for all places or, with
``centre="place"``, that of each: a fixed camera's still background is then near 0 everywhere. ``centre="appearance"``
has that for appearance alone.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import cv2
import numpy as np
import torch

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.beside import in_order
from ramvid_vad.spaces.backbones import LITE0, load_backbone
from ramvid_vad.spaces.frame_size import LINES, reduced, resized
from ramvid_vad.spaces.motion import CELL, CHANNELS, motion_cells, with_pairs
from ramvid_vad.video.finding import evenly_spread
from ramvid_vad.video.reader import Clip

KEPT = 24  # principal axes of appearance
DAMPING = 0.1  # of the mean eigenvalue, added to each: weak axes are noise and stay small
FRAMES = 512  # of normal video, at least, evenly spread, that the statistics are taken from
VIDEOS = 64  # of normal video, at most, evenly spread


class FeatureSpace:
    """As ``fit`` makes it: frames become maps (C, h, w), each channel near unit variance on normal video.

    size: (H, W) that every frame is brought to, in pixels.  backbone, weights: see ``backbones.load_backbone``.
    digest: of the backbone's weights; others are refused.  sd (D,): of the D channels of the backbone around their
    mean at each place.  axes (D, K): orthonormal.  variance (K,): the eigenvalues of the axes, each plus the damping.
    place (K, h, w): what the mean of each place is on the axes.  motion_sd (5,), motion_place (5, h, w): likewise, both
    places in the units of the maps.  network: the backbone, where it is loaded already.
    """

    name: ClassVar[str] = "features"  # as ``--space`` calls it

    def __init__(
        self,
        size: Sequence[int],
        backbone: str,
        digest: str,
        sd: torch.Tensor,
        axes: torch.Tensor,
        variance: torch.Tensor,
        place: torch.Tensor,
        motion_sd: torch.Tensor,
        motion_place: torch.Tensor,
        weights: str = "",
        network: Any = None,
    ):
        self.size = (int(size[0]), int(size[1]))
        self.backbone, self.digest, self.weights = backbone, digest, weights
        self.sd, self.axes, self.variance, self.place = sd, axes, variance, place
        self.motion_sd, self.motion_place = motion_sd, motion_place
        self._network = network
        self._project = _projection(sd, axes, variance)
        self._shift = place.permute(1, 2, 0).contiguous()

    @classmethod
    def fit(
        cls,
        videos: Sequence[str | Clip],
        *,
        backbone: str = LITE0,
        weights: str = "",
        kept: int = KEPT,
        lines: int = LINES,
        centre: str = "all",
        tick: Callable[[int], Any] = lambda frames: None,
    ) -> "FeatureSpace":
        """From normal videos or clips, a pure function of them; about FRAMES frames of at most VIDEOS are looked at.

        kept: principal axes of appearance (K).  lines: larger frames are reduced to this shorter side; 0: they stay.
        All frames are brought to the size of the first video's.  centre: the mean that is subtracted, of "all" places
        together, of each "place", or of each place for "appearance" and of all for motion.  tick: called with 1 per
        frame looked at.
        InputError: a video that cannot be read, a backbone that is not here, more axes than channels.
        """
        network = load_backbone(backbone, weights)
        if not 1 <= kept <= network.channels:
            raise InputError(f"--space_channels {kept}: must be 1 to {network.channels}, the channels of {backbone}")
        clips = [each if isinstance(each, Clip) else Clip(each) for each in evenly_spread(videos, VIDEOS)]
        size: tuple[int, int] | None = None
        looks, moves = _Moments(), _Moments()
        for clip in clips:
            for now, before in _pairs(clip, -(-FRAMES // len(clips))):
                size = size or reduced(now, lines).shape[:2]
                now, before = _colour(resized(now, size)), _colour(resized(before, size))
                looks.add(network(now[None])[0])
                moves.add(torch.from_numpy(motion_cells(_grey(now), _grey(before))).permute(1, 2, 0))
                tick(1)
        means, covariance = looks.result(by_place=centre != "all")
        sd = _deviations(covariance)
        eigenvalues, vectors = torch.linalg.eigh(covariance / sd / sd[:, None])  # of the correlations, ascending
        axes = vectors.flip(1)[:, :kept]
        axes = axes * torch.sign(axes.gather(0, axes.abs().argmax(0, keepdim=True)))  # an axis has no sign of its own
        mean_eigenvalue = eigenvalues.mean().clamp_min(1 / len(eigenvalues))  # as if at least one channel varied
        variance = eigenvalues.flip(0)[:kept].clamp_min(0) + DAMPING * mean_eigenvalue
        place = (means @ _projection(sd, axes, variance)).permute(2, 0, 1)
        motion_means, motion_covariance = moves.result(by_place=centre == "place")
        motion_sd = _deviations(motion_covariance)
        fitted = [sd, axes, variance, place, motion_sd, (motion_means / motion_sd).permute(2, 0, 1)]
        fitted = [each.float().contiguous() for each in fitted]
        return cls(size, backbone, network.digest, *fitted, weights=weights, network=network)

    @property
    def groups(self) -> dict[str, int]:
        """Channels of each named group, in the order in which they lie."""
        return {"appearance": self.axes.shape[1], "motion": CHANNELS}

    @property
    def channels(self) -> int:
        """Of all groups together, C."""
        return sum(self.groups.values())

    @property
    def fingerprint(self) -> str:
        """Names this space in caches and checkpoints: another one has another fingerprint. 40 hexadecimal digits."""
        digest = hashlib.sha256(json.dumps([self.name, self.settings()], sort_keys=True).encode())
        for name, tensor in sorted(self.tensors().items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:40]

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the maps, the same for every video."""
        return -(-self.size[0] // CELL), -(-self.size[1] // CELL)

    def encode(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Frames of ONE video in order, uint8 (H, W, 3) or (H, W, 1) -> one map float32 (C, h, w) per frame.

        The first frame takes the motion of the second; a video of one frame has none. Several frames at once."""
        fitted = (_colour(resized(frame, self.size)) for frame in frames)
        network = self.network  # loaded here once
        calls = (
            (partial(self._looks, network, frame), partial(self._moves, now, before))
            for frame, now, before in with_pairs(fitted)
        )
        for maps in in_order(calls):
            yield np.concatenate(maps)

    @property
    def network(self) -> Any:
        """The frozen network, loaded when first asked for. InputError: not installed, or with other weights."""
        if self._network is None:
            network = load_backbone(self.backbone, self.weights)
            if network.digest != self.digest:
                raise InputError(
                    f"--backbone {self.backbone}: its weights are not those that the space was fitted with "
                    f"({network.digest} instead of {self.digest}): give the same with --backbone_weights"
                )
            self._network = network
        return self._network

    def appearance(self, features: torch.Tensor) -> torch.Tensor:
        """Channels of the network (..., h, w, D) -> (..., h, w, K): z_k / sqrt(lambda_k + 0.1 mean lambda) of the
        standardised."""
        return features @ self._project - self._shift

    def looks(self, frame: np.ndarray) -> torch.Tensor:
        """Appearance (h, w, K) of one frame uint8 (H, W, C)."""
        return self.appearance(self.network(_colour(resized(frame, self.size))[None])[0])

    def absolute(self, maps: np.ndarray) -> np.ndarray:
        """Maps (n, C, h, w) -> the same, float32, with the mean of each place added again: motion over its standard
        deviation, appearance on the whitened axes."""
        return maps.astype(np.float32) + torch.cat([self.place, self.motion_place]).numpy()

    def mirrored(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (..., C, T, h, w) of a camera that sees the same in a mirror, the means of its places too: left and
        right are exchanged, and u has the other sign."""
        maps = maps.flip(-1)
        u = self.axes.shape[1]  # the first channel of motion
        maps[..., u, :, :, :] = -maps[..., u, :, :, :]
        return maps

    def settings(self) -> dict[str, Any]:
        """What the space is, fit for JSON; with ``tensors`` all that ``load_space`` needs."""
        return {"size": list(self.size), "backbone": self.backbone, "digest": self.digest}

    def tensors(self) -> dict[str, torch.Tensor]:
        """What was fitted."""
        names = ("sd", "axes", "variance", "place", "motion_sd", "motion_place")
        return {name: getattr(self, name) for name in names}

    def _looks(self, network: Any, frame: np.ndarray) -> np.ndarray:
        """Appearance (K, h, w)."""
        return self.appearance(network(frame[None])[0]).permute(2, 0, 1).numpy()

    def _moves(self, now: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Motion (5, h, w), standardised."""
        cells = motion_cells(_grey(now), _grey(before))
        return cells / self.motion_sd.numpy()[:, None, None] - self.motion_place.numpy()


class _Moments:
    """Means and covariance of channels (h, w, D) that come frame by frame, in float64."""

    def __init__(self) -> None:
        self.count, self.total, self.products = 0, torch.zeros(()), torch.zeros(())

    def add(self, frame: torch.Tensor) -> None:
        frame = frame.double()
        rows = frame.flatten(0, 1)
        self.count += 1
        self.total = self.total + frame
        self.products = self.products + rows.T @ rows

    def result(self, by_place: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean of each place (h, w, D), and the covariance (D, D) around these; not by place: all places have one."""
        means = self.total / self.count
        if not by_place:
            means = means.mean((0, 1)).expand(means.shape)
        rows = means.flatten(0, 1)
        return means, (self.products / self.count - rows.T @ rows) / len(rows)


def _projection(sd: torch.Tensor, axes: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """x / sd @ axes / sqrt(variance), as one matrix (D, K)."""
    return axes / sd[:, None] / variance.sqrt()


def _deviations(covariance: torch.Tensor) -> torch.Tensor:
    """Standard deviations (D,); 1 for what never varies, such as the flow of a still picture."""
    variance = covariance.diagonal()
    return torch.where(variance > 1e-10, variance, 1.0).sqrt()


def _pairs(clip: Clip, least: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """About ``least`` frames of a clip, evenly spread, each with the one before it; all of a short one.

    It is read twice: how many frames it has is known when they have been decoded, and none need be kept.
    """
    count = sum(1 for _ in clip.frames())
    chosen = set(np.linspace(min(1, count - 1), count - 1, least).round().astype(int).tolist())
    before = None
    for number, frame in enumerate(clip.frames()):
        if number in chosen:
            yield frame, frame if before is None else before
        before = frame


def _colour(frame: np.ndarray) -> np.ndarray:
    return frame if frame.shape[-1] == 3 else np.repeat(frame, 3, axis=-1)


def _grey(frame: np.ndarray) -> np.ndarray:
    """RGB (H, W, 3) -> luma (H, W)."""
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
