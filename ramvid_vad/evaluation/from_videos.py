"""The null baselines alone, from video and labels: what a benchmark gives away before anything is trained.

The blend of the anchors and the previous frame are compared at SIZE, grey and reduced by area averaging, over windows
of 30 frames every 15; all that moves is measured at the video's own resolution (up to 240 lines).
"""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import cv2
import numpy as np

from ramvid_vad.diffusion.anchors import selective_anchors
from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.from_reconstructions import check_measures, chosen_nulls, make_scorer, residual_settings
from ramvid_vad.evaluation.inputs.ground_truth import labels_of_videos, look_at_labels
from ramvid_vad.evaluation.nulls.registry import BLIND, STAND_INS
from ramvid_vad.evaluation.provenance import frames_sha256, joined_sha256
from ramvid_vad.evaluation.results import Evaluation
from ramvid_vad.evaluation.rows import assemble, check, chosen_protocol
from ramvid_vad.evaluation.statistics.metrics import PerVideo
from ramvid_vad.options import EvalOptions
from ramvid_vad.reconstructions import windows_alone
from ramvid_vad.runtime.beside import in_threads
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.video.reader import find_videos, read_frames, video_name
from ramvid_vad.video.rows import RecentFrames

SIZE = 128  # pixels, both sides, of the frames that a blend or the previous frame stands in for
SEQ_LEN, STRIDE = 30, 15
KEPT = 8 * SEQ_LEN  # frames in memory: windows that are scored at once lie within half as many
STAND_IN_SETTINGS = {"image_size": [SIZE, SIZE], "rgb": False, "seq_len": SEQ_LEN, "stride": STRIDE}


def evaluate_nulls(options: EvalOptions, progress: bool = True) -> Evaluation:
    """All baselines that the options ask for, of --data_dir against --labels. Deterministic.

    InputError: videos and labels that do not belong together, or an option that does not fit.
    """
    check(options, "nulls_only", "data_dir", "labels")
    null_names, left_out = chosen_nulls(options)
    if not null_names:
        raise InputError("--nulls_only: no baseline is left, name some in --nulls")
    measures = check_measures(options) if set(null_names) & set(STAND_INS) else []
    protocol = chosen_protocol(options)
    if options.reconstructions:
        raise InputError("--reconstructions: not read with --nulls_only True; give one of the two")
    names = [video_name(path, options.data_dir) for path in find_videos(options.data_dir, options.only)]
    look_at_labels(options.labels, options.benchmark, options.label_set, names)
    names, lengths, raw, made_from = null_scores(options, null_names, measures, progress)
    truth = labels_of_videos(options.labels, options.benchmark, options.label_set, names, lengths)
    provenance = {"nulls_left_out": left_out, **made_from, **residual_settings(options)}
    return assemble(options, names, truth, raw, protocol, null_names, provenance)


def null_scores(
    options: EvalOptions,
    null_names: list[str],
    measures: list[str],
    progress: bool,
    refuse: Callable[[str, int], None] = lambda name, length: None,
) -> tuple[list[str], list[int], dict[tuple[str, str], PerVideo], dict[str, Any]]:
    """Names and lengths of the videos of --data_dir, (measure, null) -> raw scores of each baseline that sees them,
    and what these were made from, for the provenance.

    Each video is read once to learn its length and once more by each baseline: KEPT of its frames are held at most.
    refuse: called in between with name and length, to end it there if the video is not the one that was meant.
    """
    paths = find_videos(options.data_dir, options.only)
    sees_video = set(null_names) - set(BLIND)
    scorer = make_scorer(options, measures, null_names, progress, model=False)
    anchors = selective_anchors(SEQ_LEN).numpy()
    with progress_bar("scoring", "frame", shown=progress) as bar:

        def score(path: str) -> tuple[int, dict[tuple[str, str], np.ndarray], str]:
            def frames() -> Iterator[np.ndarray]:
                return (_small(frame) for frame in read_frames(path, rgb=False))

            counted = count()
            digest = frames_sha256(frame for frame, _ in zip(frames(), counted, strict=False))
            refuse(video_name(path, options.data_dir), length := next(counted))
            real = RecentFrames(frames, length, KEPT)
            made = windows_alone(len(real), anchors, STRIDE)
            return len(real), scorer(path, real, made, bar.update) if sees_video else {}, digest

        scored = in_threads(score, paths)
    raw = {key: [scores[key] for _, scores, _ in scored] for key in scored[0][1]}
    made_from: dict[str, Any] = {"frames_sha256": joined_sha256(digest for *_, digest in scored)}
    made_from |= {"stand_ins": STAND_IN_SETTINGS} if measures else {}
    made_from |= scorer.about_normal()
    return [video_name(path, options.data_dir) for path in paths], [length for length, *_ in scored], raw, made_from


def _small(frame: np.ndarray) -> np.ndarray:
    """Grey (H, W, 1) -> (SIZE, SIZE, 1)."""
    return cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., None]
