"""Windows over a video: where they start, which frames they hold, and how their residuals become one per frame.

A window is T = seq_len consecutive frames. ``anchors`` is the one boolean array of shape (T,) that says which positions
of a window are given clean (True); the others are masked, that is generated and scored. Positions outside the video are
padding, which is never scored: training repeats the first or last frame, infilling mirrors the video at its ends, so
that the end frames are generated between anchors and not from copies of themselves.
"""

from collections.abc import Sequence

import numpy as np

from ramvid_vad.errors import InputError

HALF_ANCHOR_PERIOD = 5
"""Frames by which the extra windows are shifted: half the period of the selective anchors."""


def window_starts(num_frames: int, seq_len: int, stride: int) -> list[int]:
    """Starts 0, stride, 2 stride ... while the window fits, and num_frames - seq_len if frames are left over.

    A video shorter than a window has the single start 0. Raises InputError for values that would leave frames out.
    """
    if num_frames < 1 or seq_len < 1 or not 1 <= stride <= seq_len:
        raise InputError(
            f"no windows for {num_frames} frames, seq_len {seq_len}, stride {stride}: at least one frame is needed, "
            "and 1 <= stride <= seq_len, or frames between the windows would be left out"
        )
    last = max(num_frames - seq_len, 0)
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


def frame_indices(start: int, seq_len: int, num_frames: int) -> np.ndarray:
    """Frame shown at each position of a window, int64 (seq_len,), clamped to 0 .. num_frames - 1."""
    return np.clip(np.arange(start, start + seq_len), 0, num_frames - 1)


def mirrored(frames: np.ndarray, num_frames: int) -> np.ndarray:
    """Frame numbers -> those of the video mirrored at its first and last frame: -1 is frame 1, n is frame n - 2."""
    period = max(2 * (num_frames - 1), 1)
    folded = frames % period
    return np.minimum(folded, period - folded) if num_frames > 1 else folded


def window_anchors(start: int, anchors: np.ndarray, num_frames: int) -> np.ndarray:
    """Which positions the model is given in one window, bool (T,): the anchors but for mirror images of scored frames.

    Whoever sees a copy of the frame that it is to generate can hand it back, whatever it shows. Where no anchor would
    be left, all stay: in videos of very few frames, and by prediction for the first frames, which nothing precedes.
    """
    given = anchors & ~copies(start, anchors, num_frames)
    return given if given.any() else anchors


def copies(start: int, anchors: np.ndarray, num_frames: int) -> np.ndarray:
    """Anchors beyond the video's ends that are mirror images of frames which the window is to generate, bool (T,)."""
    inside = in_video(start, len(anchors), num_frames)
    shown = mirrored(np.arange(start, start + len(anchors)), num_frames)
    return anchors & ~inside & np.isin(shown, shown[inside & ~anchors])


def in_video(start: int, seq_len: int, num_frames: int) -> np.ndarray:
    """Which positions of a window are true frames and not padding, bool (seq_len,)."""
    index = np.arange(start, start + seq_len)
    return (index >= 0) & (index < num_frames)


def masked_rows(
    num_frames: int, starts: Sequence[int], anchors: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every reconstruction that windows at ``starts`` give: (window (R,), position (R,), true frame (R,)), int64.

    One row per masked position that lies in the video, ordered by window and then by position.
    """
    anchors = np.asarray(anchors, dtype=bool)
    frame = np.asarray(starts, dtype=np.int64).reshape(-1, 1) + np.arange(len(anchors))
    window, position = np.nonzero(~anchors & (frame >= 0) & (frame < num_frames))
    return window, position, frame[window, position]


def times_masked(num_frames: int, starts: Sequence[int], anchors: np.ndarray) -> np.ndarray:
    """In how many windows each frame is masked, int64 (num_frames,)."""
    counts = np.zeros(num_frames, np.int64)
    starts = np.asarray(starts, np.int64)
    for position in np.flatnonzero(~np.asarray(anchors, bool)):
        frame = starts + position
        np.add.at(counts, frame[(frame >= 0) & (frame < num_frames)], 1)
    return counts


def covering_starts(num_frames: int, seq_len: int, stride: int, anchors: np.ndarray, extra: bool = True) -> list[int]:
    """Regular starts and, after them, the extra ones that make every frame masked in at least one window.

    Frames that are anchors in all their regular windows (for the selective pattern the first and last of a video, and
    others near its ends) would never be reconstructed. Each extra window masks as many of the frames still missing as
    possible; among equals one is taken in which an anchor is left that shows no frame to be generated, then the one
    shifted by HALF_ANCHOR_PERIOD from a regular window, then the one with the least padding. Extra starts may be
    negative or run past the end.
    extra=False returns the regular starts only. Raises InputError when every position is an anchor.
    """
    anchors = np.asarray(anchors, dtype=bool)
    if anchors.shape != (seq_len,):
        raise InputError(f"anchors of shape {anchors.shape} do not fit windows of {seq_len} frames")
    starts = window_starts(num_frames, seq_len, stride)
    if not extra:
        return starts
    masked = np.flatnonzero(~anchors)
    if not len(masked):
        raise InputError(f"all {seq_len} frames of a window are anchors: none is left to be generated and scored")
    shifted = {start + shift for start in starts for shift in (-HALF_ANCHOR_PERIOD, HALF_ANCHOR_PERIOD)}
    missing = times_masked(num_frames, starts, anchors) == 0

    def masks(start: int) -> np.ndarray:
        frames = start + masked
        return frames[(frames >= 0) & (frames < num_frames)]

    def worth(start: int) -> tuple:
        padding = max(0, -start) + max(0, start + seq_len - num_frames)
        known = (anchors & ~copies(start, anchors, num_frames)).any()
        return missing[masks(start)].sum(), known, start in shifted, -padding, start

    extras = []
    for frame in np.flatnonzero(missing):
        if missing[frame]:  # no extra window so far masks it
            candidates = frame - masked  # all starts that do
            best = max(candidates.tolist(), key=worth)
            extras.append(best)
            missing[masks(best)] = False
    starts = starts + sorted(extras)
    assert times_masked(num_frames, starts, anchors).min() > 0
    return starts


def merge_max(values: np.ndarray, frames: np.ndarray, num_frames: int, fill: float = 0.0) -> np.ndarray:
    """Largest value of each frame, float64 (num_frames,); ``fill`` for frames without one. A NaN stays a NaN.

    values (R,): one residual per reconstruction.  frames (R,): the true frame index of each.
    """
    values, frames = np.asarray(values, dtype=np.float64), np.asarray(frames)
    if values.shape != frames.shape or values.ndim != 1:
        raise ValueError(f"one value per frame index is needed, got shapes {values.shape} and {frames.shape}")
    if np.any((frames < 0) | (frames >= num_frames)):
        raise ValueError(f"frame indices {frames.min()}..{frames.max()} do not lie in a video of {num_frames} frames")
    merged = np.full(num_frames, -np.inf)
    with np.errstate(invalid="ignore"):
        np.maximum.at(merged, frames, values)
    merged[np.bincount(frames, minlength=num_frames) == 0] = fill
    return merged
