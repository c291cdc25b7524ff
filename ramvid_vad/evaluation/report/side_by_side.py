"""One mp4 per video: input | infilled | residual with the blobs' boxes, and below them the score up to that frame.

Frame i of the mp4 is frame i of the video. Boxes are black under dashed white, the labels' spans hatched, thresholds
dashed and named: nothing by colour alone.
"""

import hashlib
import json
import os
from collections.abc import Iterator

import cv2
import numpy as np

from ramvid_vad.evaluation.provenance import code, frames_sha256
from ramvid_vad.evaluation.report.pictures import FrameSource, VideoFrames, boxes, brightest, residual_image
from ramvid_vad.evaluation.report.plots import MODEL
from ramvid_vad.evaluation.report.wording import row_key
from ramvid_vad.evaluation.results import Evaluation
from ramvid_vad.evaluation.statistics.alarms import spans
from ramvid_vad.evaluation.statistics.metrics import video_auc
from ramvid_vad.runtime.files import sha256_of
from ramvid_vad.runtime.progress import counted, progress_bar
from ramvid_vad.video.writer import video_comment, write_video

FPS = 10.0  # where the frame rate of the videos is not known
PANE = 320  # lines that small frames are enlarged to, by a whole factor
WIDEST = 640  # columns of a pane: larger frames are reduced
CAPTION, CURVE, GAP, MARGIN = 24, 130, 6, 60  # pixels; MARGIN: right of the curve, for the ends of its scale
CRF = 20
FONT, SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
INK, SOFT, PAPER, RULE, THRESHOLD = (26, 26, 26), (85, 85, 85), (255, 255, 255), (204, 204, 204), (179, 71, 0)
SCORE = tuple(int(MODEL[i : i + 2], 16) for i in (1, 3, 5))


def render_videos(
    evaluation: Evaluation, source: FrameSource, folder: str, count: int, fps: float = 0, progress: bool = True
) -> list[str]:
    """``folder/NAME.mp4`` of the ``count`` videos with the lowest AUC (-1: all), one-class videos last -> their paths.

    fps: frames per second, 0: FPS.  A file that shows the same already is left as it is: its metadata name what it was
    made from. InputError: a file cannot be written.
    """
    order = worst_first(evaluation)
    chosen = order if count < 0 else order[:count]
    paths = []
    total = sum(len(evaluation.full_labels[v]) + evaluation.first_raw for v in chosen)
    with progress_bar("videos", "frame", total, shown=progress) as bar:
        for video in chosen:
            path = os.path.join(folder, evaluation.names[video] + ".mp4")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            scene = Scene(evaluation, source, video)
            made_from = scene.fingerprint(fps or FPS)
            if video_comment(path) == made_from:
                bar.update(scene.length)
            else:
                write_video(path, counted(scene.frames(), bar.update), fps or FPS, CRF, made_from)
            paths.append(path)
    return paths


def worst_first(evaluation: Evaluation) -> list[int]:
    """Numbers of the videos by the AUC of the headline row, lowest first; those of one class last."""
    aucs = [video_auc(s, y) for s, y in zip(evaluation.headline.processed, evaluation.labels, strict=True)]
    return sorted(range(len(aucs)), key=lambda v: (2.0 if aucs[v] is None else aucs[v], v))


class Scene:
    """Everything that the mp4 of one video shows."""

    def __init__(self, evaluation: Evaluation, source: FrameSource, video: int) -> None:
        row = evaluation.headline
        self.name, self.source = evaluation.names[video], source
        self.made = VideoFrames(source, self.name)
        self.length = len(self.made.real)
        self.infilled = set(self.made.numbers.tolist())
        self.title = row_key(row, evaluation.rows)
        self.scores = np.full(self.length, np.nan)  # of frames that the protocol drops there is none
        first = evaluation.first_processed
        self.scores[first : first + len(row.processed[video])] = row.processed[video]
        self.labels = np.zeros(self.length, np.uint8)
        labels = evaluation.full_labels[video]
        self.labels[evaluation.first_raw : evaluation.first_raw + len(labels)] = labels
        self.thresholds = [(p.rule, p.threshold) for p in row.operating if p.threshold is not None]
        values = np.concatenate([*row.processed, [t for _, t in self.thresholds]])
        margin = 0.05 * (values.max() - values.min()) or 0.5  # one scale for all videos, as the micro AUC sees them
        self.low, self.high = float(values.min() - margin), float(values.max() + margin)
        height, width = self.made.real.shape[1:3]
        self.zoom = WIDEST / width if width > WIDEST else float(max(1, min(PANE // height, WIDEST // width)))
        self.pane = (round(height * self.zoom), round(width * self.zoom))

    def fingerprint(self, fps: float) -> str:
        """SHA-256 of all that the picture depends on; of this file too, which may be newer than the commit."""
        settings = [code(), sha256_of([__file__]), self.title, fps, self.source.blobs, self.thresholds]
        digest = hashlib.sha256(json.dumps(settings).encode())
        digest.update(np.concatenate([self.scores, self.labels, [self.low, self.high]]).tobytes())
        digest.update(sha256_of([self.source.files[self.name]]).encode())
        digest.update(frames_sha256(self.made.real).encode())
        return digest.hexdigest()

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3), one per frame of the video."""
        # one scale for the whole video, else it would flicker; the brightest frame of all would leave the others dark
        white = float(np.median([brightest(*self.made.pair(frame)) for frame in self.made.numbers]))
        plot = Plot(self, 3 * self.pane[1] + 2 * GAP, white / 255)
        for frame in range(self.length):
            yield np.concatenate([self._panes(frame, white), plot.up_to(frame)])

    def _panes(self, frame: int, white: float) -> np.ndarray:
        height, width = self.pane
        canvas = np.full((CAPTION + height, 3 * width + 2 * GAP, 3), PAPER, np.uint8)
        if frame in self.infilled:
            real, made = self.made.pair(frame)
            found = boxes(real, made, self.source.blobs)
            residual = draw_boxes(self._enlarged(residual_image(real, made, white)), found, self.zoom)
            panes = [self._enlarged(real), self._enlarged(made), residual]
            captions = ["input", "infilled", f"residual: {len(found)} {'blob' if len(found) == 1 else 'blobs'}"]
        else:
            empty = np.full((height, width, 3), RULE, np.uint8)
            panes = [self._enlarged(np.asarray(self.made.real[frame])), empty, empty]
            captions = ["input", "not infilled", "no residual"]
        for place, (pane, caption) in enumerate(zip(panes, captions, strict=True)):
            x = place * (width + GAP)
            canvas[CAPTION:, x : x + width] = pane
            _text(canvas[:CAPTION, x : x + width], caption, (2, 17))
        return canvas

    def _enlarged(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 1 or 3) -> (height, width, 3) of a pane; enlarged pixels stay squares."""
        height, width = self.pane
        way = cv2.INTER_AREA if self.zoom < 1 else cv2.INTER_NEAREST
        resized = cv2.resize(image, (width, height), interpolation=way).reshape(height, width, -1)
        return np.broadcast_to(resized, (height, width, 3))


class Plot:
    """The score curve over the labels' spans; what lies behind the curve is drawn once."""

    def __init__(self, scene: Scene, width: int, white: float) -> None:
        self.scene = scene
        self.top, self.bottom, self.left, self.right = CAPTION, CAPTION + CURVE, 2, width - MARGIN
        self.back = np.full((CAPTION + CURVE + CAPTION, width, 3), PAPER, np.uint8)
        rows, columns = np.indices(self.back.shape[:2])
        stripes = (rows + columns) % 8 < 1
        for begin, end in spans(scene.labels):
            span = (columns >= self.across(begin - 0.5)) & (columns < self.across(end - 0.5))
            inside = (rows >= self.top) & (rows < self.bottom)
            self.back[span & inside & stripes] = (150, 150, 150)
        cv2.rectangle(self.back, (self.left, self.top), (self.right, self.bottom), RULE)
        end = self.right - 5
        for rule, value in scene.thresholds:
            y = self.up(value)
            for x in range(self.left, self.right, 11):
                cv2.line(self.back, (x, y), (min(x + 6, self.right), y), THRESHOLD, 1)
            name, beside = f"threshold: {rule.replace('_', ' ')}", y - 5 if y - 18 > self.top else y + 15
            (wide, high), _ = cv2.getTextSize(name, FONT, SIZE, 1)
            self.back[beside - high - 2 : beside + 4, end - wide : end] = PAPER  # legible on hatching
            _text(self.back, name, (end - wide, beside), SOFT)
            end -= wide + 20  # thresholds may be close to each other, their names are not
        for value, y in ((scene.high, self.top + 12), (scene.low, self.bottom)):
            _text(self.back, f"{value:.2g}", (self.right + 4, y), SOFT)
        note = "hatched: abnormal by the labels" if scene.labels.any() else "no frame is abnormal by the labels"
        _text(self.back, f"{note}; residual: white from {white:.2f} of full range on", (2, self.bottom + 18), SOFT)
        self.points = [None if np.isnan(s) else (self.across(i), self.up(s)) for i, s in enumerate(scene.scores)]

    def across(self, frame: float) -> int:
        return round(self.left + (self.right - self.left) * (frame + 0.5) / self.scene.length)

    def up(self, score: float) -> int:
        scene = self.scene
        return round(self.bottom - (self.bottom - self.top) * (score - scene.low) / (scene.high - scene.low))

    def up_to(self, frame: int) -> np.ndarray:
        """The plot with the curve up to this frame, and the frame in words above it."""
        scene, image = self.scene, self.back.copy()
        drawn = np.array([point for point in self.points[: frame + 1] if point], np.int32)
        if len(drawn):
            cv2.polylines(image, [drawn.reshape(-1, 1, 2)], False, SCORE, 2, cv2.LINE_AA)
        x = self.across(frame)
        cv2.line(image, (x, self.top), (x, self.bottom), INK, 1)
        if self.points[frame]:
            cv2.circle(image, self.points[frame], 4, SCORE, -1, cv2.LINE_AA)
        score = f"{scene.scores[frame]:.4g}" if self.points[frame] else "none"
        label = "abnormal" if scene.labels[frame] else "normal"
        _text(image, f"{scene.name}  frame {frame}  {scene.title} {score}  label: {label}", (2, 17))
        return image


def draw_boxes(image: np.ndarray, found: list[list[int]], zoom: float = 1.0) -> np.ndarray:
    """A copy of the picture with each box (x0, y0, x1, y1, end exclusive) outlined: black under dashed white."""
    drawn = image.copy()
    for box in found:
        x0, y0, x1, y1 = (round(zoom * side) for side in box)
        corners = np.array([(x0, y0), (x1 - 1, y0), (x1 - 1, y1 - 1), (x0, y1 - 1)])
        cv2.polylines(drawn, [corners.reshape(-1, 1, 2)], True, (0, 0, 0), 3)
        for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            along = np.linspace(start, end, max(2, int(np.abs(end - start).max()) + 1)).round().astype(int)
            dashes = along[np.arange(len(along)) % 8 < 5]
            drawn[dashes[:, 1], dashes[:, 0]] = 255
    return drawn


def _text(image: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, ...] = INK) -> None:
    """Write into the picture; OpenCV's font has ASCII only. Its part is copied, as a slice is not contiguous."""
    whole = np.ascontiguousarray(image)
    line = text.encode("ascii", "replace").decode()
    cv2.putText(whole, line, at, FONT, SIZE, colour, 1, cv2.LINE_AA)
    image[:] = whole
