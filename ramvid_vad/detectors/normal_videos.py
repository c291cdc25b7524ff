"""A training goes on with the normal videos and the settings that it was begun with, or not at all."""

import hashlib
import json
import os
from collections.abc import Sequence

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import write_text
from ramvid_vad.video.files import sizes_of
from ramvid_vad.video.reader import Clip

NORMAL_VIDEOS = "normal_videos.json"


def keep_to(work: str, learning: Sequence[Clip], held_out: Sequence[Clip], **settings: int | str) -> None:
    """Note which videos, and which of its settings by name, a run was begun with: what its checkpoints do not tell.

    A copy of the videos elsewhere is the same videos. InputError: the run goes on, and with others.
    """
    path = os.path.join(work, NORMAL_VIDEOS)
    videos = {"learning": [state_of(clip) for clip in learning], "held_out": [state_of(clip) for clip in held_out]}
    try:
        os.makedirs(work, exist_ok=True)
        before = videos
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                before = dict(json.load(file))
        if (before.get("learning"), before.get("held_out")) != (videos["learning"], videos["held_out"]):
            raise InputError(
                f"{work}: the training there was begun with other normal videos: give another --out folder"
            )
        for name, value in settings.items():
            if before.get(name, value) != value:
                raise InputError(
                    f"{work}: the training there was begun with {name} {before[name]!r}, not {value!r}: keep it, or "
                    "give another --out folder"
                )
        if before is videos or set(settings) - set(before):  # an earlier version did not note all of them
            write_text(path, json.dumps(before | settings, indent=1) + "\n")
    except InputError:
        raise
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: cannot be written and read ({error}): give another folder, or free space") from None


def state_of(clip: Clip) -> list[str | int | None]:
    """Name, digest of the sizes of its file or frames, first frame and end."""
    sizes = hashlib.sha256(json.dumps(sizes_of(clip.path)).encode()).hexdigest()[:16]
    return [os.path.basename(clip.path.rstrip("/")), sizes, clip.first, clip.end]
