"""What a run saw of its last bad step, written down before it ends, and what may help."""

import json
import math
import os
from typing import Any

from ramvid_vad.runtime import processes


def dump(folder: str, step: int, content: dict[str, Any]) -> str:
    """Write this rank's ``content`` into the log directory; returns where it is, in words."""
    path = os.path.join(folder, f"nonfinite{step:06d}_rank{processes.rank()}.json")
    text = json.dumps(_legal(content), indent=1, allow_nan=False)
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        return f"{path} could not be written ({error.strerror}): {json.dumps(_legal(content))}"
    return f"see {path} (and those of the other ranks)" if processes.world_size() > 1 else f"see {path}"


def advice(precision: str, saved: bool) -> str:
    """What to try, in words. saved: whether the newest checkpoint is of the step before the bad ones: whoever goes on
    from there meets the same numbers at every rate."""
    change = "a lower --lr" + (" or --precision bf16" if precision != "bf16" else "")
    if saved:
        return f"begin from an earlier checkpoint (--resume_checkpoint FILE --log_dir NEW), or anew, with {change}"
    return f"try {change}"


def _legal(value: Any) -> Any:
    """JSON has no nan and no inf: they become words."""
    if isinstance(value, dict):
        return {key: _legal(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_legal(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
