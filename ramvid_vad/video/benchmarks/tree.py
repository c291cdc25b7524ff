"""Finding things in an unpacked data set by the tail of their path, wherever it was unpacked."""

import os
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from ramvid_vad.errors import InputError
from ramvid_vad.video.finding import SYSTEM
from ramvid_vad.video.names import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS, natural_key


class Tree:
    """All folders and files below ``source``; hidden ones and those of systems (``finding.SYSTEM``) are passed over."""

    def __init__(self, source: str) -> None:
        top = Path(os.path.abspath(source))
        if not top.is_dir():
            raise InputError(f"--source {source}: no such folder")
        self.source = source
        self.files: dict[Path, list[str]] = {}
        seen = set()
        for folder, below, names in os.walk(top, followlinks=True):
            seen.add(os.path.realpath(folder))
            below[:] = sorted(name for name in below if not name.startswith(".") and name.lower() not in SYSTEM)
            below[:] = [name for name in below if os.path.realpath(os.path.join(folder, name)) not in seen]
            self.files[Path(folder)] = sorted((name for name in names if not name.startswith(".")), key=natural_key)

    def folder(self, *patterns: str) -> Path | None:
        """The folder whose path ends with the first pattern that any matches (``training/frames``; case is ignored).

        InputError where two folders match at the same depth: nobody should have to guess which data set was read.
        """
        for pattern in patterns:
            hits = self.named_folders(pattern)
            # Avenue's ground truth comes with a second, partial testing_videos
            hits = [path for path in hits if not path.parent.name.startswith("ground_truth")] or hits
            depth = min((len(path.parts) for path in hits), default=0)
            hits = [path for path in hits if len(path.parts) == depth]
            if len(hits) > 1:
                raise InputError(f"--source {self.source}: both {hits[0]} and {hits[1]} match; give the folder of one")
            if hits:
                return hits[0]
        return None

    def named_files(self, *patterns: str) -> list[Path]:
        """All files but pictures whose path ends with one of the patterns, the shallowest first."""
        hits = [path for path in self._not_pictures if any(_ends_with(path, pattern) for pattern in patterns)]
        return sorted(hits, key=lambda path: (len(path.parts), natural_key(str(path))))

    @cached_property
    def _not_pictures(self) -> list[Path]:
        return [
            folder / name
            for folder, names in self.files.items()
            for name in names
            if Path(name).suffix.lower() not in IMAGE_EXTENSIONS
        ]

    def named_folders(self, pattern: str) -> list[Path]:
        """All folders whose path ends with the pattern."""
        return sorted((path for path in self.files if _ends_with(path, pattern)), key=lambda p: natural_key(str(p)))

    def videos(self, folder: Path | None) -> dict[str, str]:
        """Videos directly in a folder: own name -> video file, or folder that directly holds pictures."""
        if folder is None:
            return {}
        found: dict[str, str] = {}
        for name in self.files[folder]:
            if Path(name).suffix.lower() in VIDEO_EXTENSIONS:
                _add(found, Path(name).stem, folder / name)
        for path, names in self.files.items():
            if path.parent == folder and any(Path(name).suffix.lower() in IMAGE_EXTENSIONS for name in names):
                _add(found, path.name, path)
        return {name: found[name] for name in sorted(found, key=natural_key)}


def _add(found: dict[str, str], name: str, path: Path) -> None:
    if name in found:
        raise InputError(f"{found[name]} and {path} are the same video; keep one of them")
    found[name] = str(path)


def _ends_with(path: Path, pattern: str) -> bool:
    wanted = pattern.casefold().split("/")
    parts = path.parts[-len(wanted) :]
    return len(parts) == len(wanted) and all(fnmatch(p.casefold(), w) for p, w in zip(parts, wanted, strict=True))
