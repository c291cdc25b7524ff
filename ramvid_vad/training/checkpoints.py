"""Generations of checkpoints: model, averages and optimizer of one step, made valid by a manifest that comes last.

A generation is the files ``model000100.safetensors``, ``ema_0.9999_000100.safetensors``, ``opt000100.safetensors`` and
``checkpoint000100.json``, which lists them with size and SHA-256. Only what a manifest vouches for is resumed from.
"""

import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ramvid_vad import __version__
from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import FileSet, fingerprint, is_remote, local_copy, names_in
from ramvid_vad.runtime.logger import warn
from ramvid_vad.training import optimizer_state
from ramvid_vad.training.optimizer_state import State, restore_optimizer
from ramvid_vad.training.weights import (
    Tensors,
    add_tensors,
    load_weights,
    read_json,
    read_pickle,
    read_tensors,
    save_weights,
)

__all__ = [
    "Checkpoint", "Loaded", "find_given", "find_latest", "is_here", "load_checkpoint", "load_weights",
    "newest_step", "restore_optimizer", "save_checkpoint", "save_weights", "step_of",
]  # fmt: skip

_OWN = re.compile(r"(?:model|ema_(?P<rate>[^/]+)_|opt)(?P<step>\d{6,})\.(?:safetensors|pt)")
_MANIFEST = re.compile(r"checkpoint(?P<step>\d{6,})\.json")
Report = Callable[[str], None]


@dataclass(frozen=True)
class Checkpoint:
    """A generation whose files were all there, whole, when it was looked at."""

    log_dir: str
    step: int
    manifest: dict[str, Any]


@dataclass
class Loaded:
    """What a run goes on from. Tensors are on the CPU; ``optimizer`` goes to ``restore_optimizer``."""

    step: int
    model: Tensors
    ema: dict[str, Tensors]  # by rate as written in the file name, "0.9999"
    optimizer: State | None
    extra: dict[str, Any]
    config: dict[str, Any] | None


def save_checkpoint(
    log_dir: str,
    step: int,
    model_state: Mapping[str, torch.Tensor],
    ema_states: Mapping[str, Mapping[str, torch.Tensor]],
    optimizer: torch.optim.Optimizer,
    extra: dict[str, Any],
    config: dict[str, Any],
    keep: int = 0,
    named_parameters: Iterable[tuple[str, torch.Tensor]] | None = None,
) -> Checkpoint:
    """Write the generation of one step; call it on one rank.

    ema_states: rate ("0.9999") -> state dict.  extra: anything JSON holds exactly, e.g. the loss scale.
    keep: 0 keeps every generation, else that many (at least 2) of the newest valid ones up to this step; only files
    that a manifest lists are deleted.  named_parameters: see ``optimizer_state``.
    OSError: it could not be written; the training state and the earlier generations are as they were.
    """
    state = optimizer_state.optimizer_state(optimizer, named_parameters)
    manifest: dict[str, Any] = {
        "step": step,
        "versions": {"ramvid_vad": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "extra": json.loads(json.dumps(extra)),  # as it will be read back
    }
    settings = {"config": json.dumps(config)}
    try:
        with FileSet(log_dir) as files:
            add_tensors(files, f"model{step:06d}.safetensors", model_state, settings)
            for rate, average in ema_states.items():
                add_tensors(files, f"ema_{rate}_{step:06d}.safetensors", average, settings)
            add_tensors(files, f"opt{step:06d}.safetensors", *optimizer_state.pack(state))
            manifest["files"] = dict(files.records)
            _add_manifest(files, step, manifest)
            files.commit()
    except OSError as error:
        raise OSError(
            f"checkpoint of step {step} could not be saved in {log_dir}: {error}; earlier ones stay"
        ) from error
    if keep > 0:
        _forget(log_dir, step, max(keep, 2))
    return Checkpoint(log_dir, step, manifest)


def find_latest(log_dir: str, report: Report = warn) -> Checkpoint | None:
    """The newest valid generation in a local folder; ``report`` gets one line for each newer one that is not.

    None: nothing was ever saved to the end. InputError: generations were completed here, and now all are damaged.
    """
    steps = {int(found["step"]) for name in names_in(log_dir) if (found := _match(name)) and not name.endswith(".pt")}
    damaged = 0
    for step in sorted(steps, reverse=True):
        try:
            return Checkpoint(log_dir, step, _verified(log_dir, step))
        except _Invalid as error:
            report(f"checkpoint of step {step} in {log_dir} is passed over: {error}")
            damaged += os.path.exists(_manifest_path(log_dir, step))
    if damaged:
        raise InputError(
            f"{log_dir}: all {damaged} checkpoints are damaged; give --resume_checkpoint FILE or another --log_dir"
        )
    return None


def find_given(path: str) -> Checkpoint | str:
    """The generation whose model file this is; the path itself where no manifest vouches for it.

    InputError: there is a manifest, and the generation is damaged.
    """
    folder, name = os.path.split(path)
    step = _model_step(name)
    if is_remote(path) or step is None or not os.path.exists(_manifest_path(folder, step)):
        return path
    try:
        manifest = _verified(folder, step)
    except _Invalid as error:
        raise InputError(f"{path}: {error}; resume from an earlier model file, or --resume_checkpoint auto") from error
    return Checkpoint(folder, step, manifest) if name in manifest["files"] else path


def step_of(source: Checkpoint | str) -> int:
    """The step of a generation; of a model file the one in its name, 0 if there is none."""
    return source.step if isinstance(source, Checkpoint) else _model_step(os.path.basename(source)) or 0


def newest_step(log_dir: str) -> int:
    """The step of the newest manifest by its name, verified or not; -1: there is none."""
    found = (_MANIFEST.fullmatch(name) for name in names_in(log_dir))
    return max((int(each["step"]) for each in found if each), default=-1)


def is_here(checkpoint: Checkpoint) -> bool:
    """Has this process the same generation under that path? By the manifest, which holds all checksums, and the files'
    sizes: for ranks that go on from what rank 0 has verified."""
    folder = checkpoint.log_dir
    try:
        same = _manifest(folder, checkpoint.step) == checkpoint.manifest
        files = checkpoint.manifest["files"].items()
        return same and all(os.path.getsize(os.path.join(folder, name)) == record["size"] for name, record in files)
    except (_Invalid, OSError):
        return False


def load_checkpoint(source: Checkpoint | str, ema_rates: Iterable[str] | None = None, report: Report = warn) -> Loaded:
    """Everything that a run needs to go on.

    source: a generation from ``find_latest`` or ``find_given``, or a model file; then its averages and optimizer are
    looked for beside it, as RaMViD does, and the step is read from its name. Local or anything blobfile opens.
    ema_rates: rates that the run keeps. ``report`` gets a line for each that has no file, and for a missing optimizer.
    InputError: damaged, missing, or of another program.
    """
    if isinstance(source, str):
        source = find_given(source)
    loaded = _load_generation(source, report) if isinstance(source, Checkpoint) else _load_beside(source)
    where = source if isinstance(source, str) else f"checkpoint of step {source.step} in {source.log_dir}"
    if not loaded.ema and ema_rates is None:
        report(f"{where}: no averaged (EMA) weights beside it")
    for rate in ema_rates or ():
        if rate not in loaded.ema:
            report(f"{where}: no average of rate {rate} beside it; it starts as a copy of the model's weights")
    if loaded.optimizer is None:
        report(f"{where}: no optimizer state beside it; the optimizer starts afresh")
    return loaded


class _Invalid(Exception):
    """Why a generation is not valid."""


def _match(name: str) -> re.Match | None:
    return _OWN.fullmatch(name) or _MANIFEST.fullmatch(name)


def _manifest_path(log_dir: str, step: int) -> str:
    return os.path.join(log_dir, f"checkpoint{step:06d}.json")


def _digest(manifest: dict[str, Any]) -> str:
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _add_manifest(files: FileSet, step: int, manifest: dict[str, Any]) -> None:
    manifest["sha256"] = _digest(manifest)
    text = json.dumps(manifest, indent=1)

    def write(path: str) -> None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def check(path: str) -> None:
        with open(path, encoding="utf-8") as file:
            if file.read() != text:
                raise OSError("the manifest came back other than it was written")

    files.add(os.path.basename(_manifest_path("", step)), write, check)


def _manifest(log_dir: str, step: int) -> dict[str, Any]:
    """The manifest, whose own digest and file names were checked, but not the files."""
    path = _manifest_path(log_dir, step)
    try:
        with open(path, encoding="utf-8") as file:
            manifest = read_json(file.read(), path)
        if manifest["sha256"] != _digest(manifest) or manifest["step"] != step:
            raise _Invalid(f"{os.path.basename(path)} is damaged")
        names, _ = list(manifest["files"]), (manifest["versions"]["torch"], manifest["extra"])
    except FileNotFoundError:
        raise _Invalid(f"{os.path.basename(path)} is missing (the run ended while saving, or it was deleted)") from None
    except (OSError, UnicodeDecodeError, InputError, KeyError, TypeError) as error:
        raise _Invalid(f"{os.path.basename(path)} is damaged ({error})") from error
    for name in names:
        if not (found := _OWN.fullmatch(name)) or int(found["step"]) != step:
            raise _Invalid(f"{os.path.basename(path)} lists {name!r}, which is no file of this step")
    return manifest


def _verified(log_dir: str, step: int) -> dict[str, Any]:
    """The manifest of a valid generation, else _Invalid."""
    manifest = _manifest(log_dir, step)
    for name, expected in manifest["files"].items():
        path = os.path.join(log_dir, name)
        try:
            size = os.path.getsize(path)
            if size != expected["size"]:
                raise _Invalid(f"{name} has {size} bytes instead of {expected['size']}")
            if fingerprint(path) != expected:
                raise _Invalid(f"{name} has changed since it was written (checksum)")
        except FileNotFoundError:
            raise _Invalid(f"{name} is missing") from None
        except (OSError, TypeError, KeyError) as error:
            raise _Invalid(f"{name} cannot be read ({error})") from error
    return manifest


def _forget(log_dir: str, step: int, keep: int) -> None:
    """Delete what is older than the ``keep`` newest valid generations up to ``step``: files first, manifest last."""
    steps = [int(found["step"]) for name in names_in(log_dir) if (found := _MANIFEST.fullmatch(name))]
    valid = 0
    for old in sorted((s for s in steps if s <= step), reverse=True):
        try:
            if valid < keep:
                _verified(log_dir, old)
                valid += 1
                continue
            names = list(_manifest(log_dir, old)["files"])
        except _Invalid:
            continue
        for name in [*names, os.path.basename(_manifest_path(log_dir, old))]:
            path = os.path.join(log_dir, name)
            if os.path.exists(path):
                os.remove(path)


def _model_step(name: str) -> int | None:
    """The step in the name of a model file, None: it has none."""
    found = _OWN.fullmatch(name)
    return int(found["step"]) if found and name.startswith("model") else None


def _load_generation(checkpoint: Checkpoint, report: Report) -> Loaded:
    manifest, folder = checkpoint.manifest, checkpoint.log_dir
    if manifest["versions"]["torch"] != torch.__version__:
        old = manifest["versions"]["torch"]
        report(f"saved with torch {old}, resumed with {torch.__version__}: results may differ in the last bits")
    loaded = Loaded(checkpoint.step, {}, {}, None, manifest["extra"], None)
    for name in manifest["files"]:
        path = os.path.join(folder, name)
        if name.startswith("opt"):
            loaded.optimizer = optimizer_state.unpack(*read_tensors(path, path), path)
        elif rate := _OWN.fullmatch(name)["rate"]:
            loaded.ema[rate] = load_weights(path)[0]
        else:
            loaded.model, loaded.config = load_weights(path)
    return loaded


def _load_beside(path: str) -> Loaded:
    """RaMViD's way: the model file is given, the others are found by their names."""
    folder, name = os.path.split(path)
    model, config = load_weights(path)
    loaded = Loaded(step_of(path), model, {}, None, {}, config)
    if _model_step(name) is None:
        return loaded
    for other in names_in(folder):
        beside = _OWN.fullmatch(other)
        if not beside or int(beside["step"]) != loaded.step or other.startswith("model"):
            continue
        place = os.path.join(folder, other)
        if beside["rate"]:
            loaded.ema[beside["rate"]] = load_weights(place)[0]
            continue
        with local_copy(place) as local:
            if other.endswith(".pt"):
                loaded.optimizer = optimizer_state.from_ramvid(read_pickle(local, place), list(model), place)
            else:
                loaded.optimizer = optimizer_state.unpack(*read_tensors(local, place), place)
    return loaded
