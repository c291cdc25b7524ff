"""Pictures for a page: JPEG as text, heat laid over the picture, and the one worst place of a map."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np

LONGEST = 256  # pixels: larger pictures are reduced
QUALITY = 70  # of the JPEG
OPAQUE = 0.7  # of the hottest place: what lies below it must still be seen


def encoded(frame: np.ndarray, longest: int | None = None, quality: int = QUALITY) -> bytes:
    """Grey or RGB uint8 (H, W, C) -> a JPEG, its longer side at most ``longest`` pixels, None: as it is."""
    image = frame[..., 0] if frame.shape[-1] == 1 else cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    scale = longest / max(image.shape[:2]) if longest else 1.0
    if scale < 1:
        size = tuple(max(1, round(scale * side)) for side in image.shape[1::-1])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def decoded(jpeg: bytes) -> np.ndarray:
    """What ``encoded`` gave -> RGB uint8 (H, W, 3)."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def jpeg(frame: np.ndarray, longest: int = LONGEST) -> str:
    """As ``encoded``, in base64, as a page holds it."""
    return base64.b64encode(encoded(frame, longest)).decode("ascii")


def with_heat(frame: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 1 or 3) with ``heat`` (h, w), enlarged to it, laid over -> RGB uint8 (H, W, 3).

    heat: 0 (the picture as it is) to 1 (hottest); what lies beyond is cut off.
    """
    rgb = np.repeat(frame, 3, axis=2) if frame.shape[-1] == 1 else frame
    heat = np.clip(heat, 0, 1).astype(np.float32)
    heat = cv2.resize(heat, frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    shades = cv2.applyColorMap(np.round(255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    cover = OPAQUE * np.sqrt(heat)[..., None]  # the root: half the heat is seen as well
    return np.round((1 - cover) * rgb + cover * shades).astype(np.uint8)


def boxed(rgb: np.ndarray, box: Sequence[int] | None) -> np.ndarray:
    """uint8 (H, W, 3), drawn upon by lines that are seen on any ground. box: left, top, right, bottom in pixels, the
    last two exclusive; None: none."""
    if box:
        thick = max(round(min(rgb.shape[:2]) / 240), 1)
        for colour, width in ((0, 0, 0), thick + 2), ((255, 210, 0), thick):
            cv2.rectangle(rgb, tuple(box[:2]), (box[2] - 1, box[3] - 1), colour, width)
    return rgb


def worst_place(heat: np.ndarray) -> list[int] | None:
    """Box x0, y0, x1, y1 (ends exclusive) of what hangs together with the highest place of ``heat`` (h, w) >= 0 and has
    at least half of its height; None: there is no heat."""
    top = float(heat.max())
    return highest_place(heat, top / 2) if top > 0 else None


def highest_place(heat: np.ndarray, level: float) -> list[int]:
    """Box x0, y0, x1, y1 (ends exclusive) of what hangs together with the highest place of ``heat`` (h, w) and is at
    least ``level`` there; no place reaches it: of the highest alone."""
    highest = np.unravel_index(np.argmax(heat), heat.shape)
    warm = (heat >= min(level, float(heat[highest]))).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(warm, connectivity=8)
    x, y, width, height = (int(v) for v in stats[labels[highest]][:4])
    return [x, y, x + width, y + height]
