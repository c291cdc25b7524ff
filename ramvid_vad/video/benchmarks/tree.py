"""Finding things in an unpacked data set by the tail of their path, wherever it was unpacked."""

import os
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from ramvid_vad.errors import InputError
from ramvid_vad.video.finding import COMPANIONS, SYSTEM, walk
from ramvid_vad.video.names import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS, natural_key


class Tree:
    """All folders and files below ``source``; hidden ones and those of systems (``finding.SYSTEM``) are passed over."""

    def __init__(self, source: str) -> None:
        top = Path(os.path.abspath(source))
        if not top.is_dir():
            raise InputError(f"--source {source}: no such folder")
        self.source = source
        self.files = {
            Path(folder): sorted((name for name in names if not name.startswith(".")), key=natural_key)
            for folder, names in walk(str(top), lambda name: name[0] != "." and name.lower() not in SYSTEM)
        }

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
        """Videos directly in a folder: own name -> video file, or folder that directly holds pictures.

        InputError: two of one name; one that lies deeper, as nobody should believe that it was looked at.
        """
        if folder is None:
            return {}
        found: dict[str, str] = {}
        for name in self.files[folder]:
            if Path(name).suffix.lower() in VIDEO_EXTENSIONS:
                _add(found, Path(name).stem, folder / name)
        for path, names in self.files.items():
            below = path.relative_to(folder).parts if folder in path.parents else ()
            endings = {Path(name).suffix.lower() for name in names}
            films, pictures = endings & VIDEO_EXTENSIONS, endings & IMAGE_EXTENSIONS
            if len(below) == 1 and pictures and not films:
                _add(found, path.name, path)
            elif not below or found.get(below[0]) == str(folder / below[0]):
                continue  # elsewhere, or below frames
            elif films or (pictures and not any(map(COMPANIONS.fullmatch, below))):
                raise InputError(
                    f"{path}: its videos or frames do not lie directly in {folder}, where they are looked for; move "
                    "them up into it, or away"
                )
        return {name: found[name] for name in sorted(found, key=natural_key)}


def _add(found: dict[str, str], name: str, path: Path) -> None:
    if name in found:
        raise InputError(f"{found[name]} and {path} are the same video; keep one of them")
    found[name] = str(path)


def _ends_with(path: Path, pattern: str) -> bool:
    wanted = pattern.casefold().split("/")
    parts = path.parts[-len(wanted) :]
    return len(parts) == len(wanted) and all(fnmatch(p.casefold(), w) for p, w in zip(parts, wanted, strict=True))
