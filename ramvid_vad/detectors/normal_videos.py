"""A training goes on with the normal videos that it was begun with, or not at all."""

import hashlib
import json
import os
from collections.abc import Sequence

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import write_text
from ramvid_vad.video.files import fingerprint
from ramvid_vad.video.reader import Clip


def keep_to(work: str, learning: Sequence[Clip], held_out: Sequence[Clip]) -> None:
    """Note which videos a run was begun with. InputError: it goes on, and with others."""
    path = os.path.join(work, "normal_videos.json")
    states = {str(clip): repr(fingerprint(clip.path)[1:]) for clip in (*learning, *held_out)}
    now = {name: hashlib.sha256(state.encode()).hexdigest()[:16] for name, state in states.items()}
    try:
        os.makedirs(work, exist_ok=True)
        if not os.path.exists(path):
            write_text(path, json.dumps(now, indent=1) + "\n")
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be written and read ({error}): give another folder, or free space") from None
    if before != now:
        raise InputError(f"{work}: the training there was begun with other normal videos: give another --out folder")
