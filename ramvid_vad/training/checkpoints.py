"""Generations of checkpoints: model, averages and optimizer of one step, made valid by a manifest that comes last.

A generation is the files ``model000100.safetensors``, ``ema_0.9999_000100.safetensors``, ``opt000100.safetensors`` and
``checkpoint000100.json``, which lists them with size and SHA-256. Only what a manifest vouches for is resumed from.
"""

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
from ramvid_vad.runtime.files import replacing_together, sha256_of
from ramvid_vad.runtime.logger import warn
from ramvid_vad.runtime.remote import is_remote, local_copy, names_in
from ramvid_vad.training import optimizer_state
from ramvid_vad.training.optimizer_state import State
from ramvid_vad.training.weights import (
    Tensors,
    check_finite,
    load_weights,
    read_json,
    read_pickle,
    read_tensors,
    write_tensors,
)

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
) -> Checkpoint:
    """Write the generation of one step, whole or not at all; call it on one rank.

    ema_states: rate ("0.9999") -> state dict.  extra: anything JSON holds exactly, e.g. the loss scale.
    keep: 0 keeps every generation, else that many (at least 2) of the newest valid ones up to this step; only files
    that a manifest lists are deleted.
    InputError: a tensor is not finite.  OSError: it could not be written.  Earlier generations are then as they were.
    """
    state = optimizer_state.optimizer_state(optimizer)
    settings = {"config": json.dumps(config)}
    parts = {f"model{step:06d}.safetensors": (model_state, settings)}
    parts |= {f"ema_{rate}_{step:06d}.safetensors": (average, settings) for rate, average in ema_states.items()}
    parts |= {f"opt{step:06d}.safetensors": optimizer_state.pack(state, extra)}
    for name, (tensors, _metadata) in parts.items():
        check_finite(tensors, name)
    versions = {"ramvid_vad": __version__, "torch": torch.__version__, "python": platform.python_version()}
    manifest: dict[str, Any] = {"step": step, "versions": versions, "files": {}}
    last = f"checkpoint{step:06d}.json"
    try:
        with replacing_together(log_dir, last) as workshop:
            for name, (tensors, metadata) in parts.items():
                path = os.path.join(workshop, name)
                write_tensors(path, tensors, metadata)
                manifest["files"][name] = {"size": os.path.getsize(path), "sha256": sha256_of([path])}
            with open(os.path.join(workshop, last), "w", encoding="utf-8") as file:
                json.dump(manifest, file, indent=1)
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
    found = (_OWN.fullmatch(name) or _MANIFEST.fullmatch(name) for name in names_in(log_dir) if name[-3:] != ".pt")
    damaged = 0
    for step in sorted({int(each["step"]) for each in found if each}, reverse=True):
        try:
            manifest = _verified(log_dir, step)
            for name in manifest["files"]:  # version 0.1 saved a run that had diverged
                path = os.path.join(log_dir, name)
                check_finite(read_tensors(path, name)[0], name)
            return Checkpoint(log_dir, step, manifest)
        except (_Invalid, InputError) as error:
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


def is_here(checkpoint: Checkpoint) -> bool:
    """Has this process the same generation under that path? By the manifest, which holds all checksums, and the files'
    sizes: for ranks that go on from what rank 0 has verified."""
    folder = checkpoint.log_dir
    try:
        files = checkpoint.manifest["files"].items()
        return _manifest(folder, checkpoint.step) == checkpoint.manifest and all(
            os.path.getsize(os.path.join(folder, name)) == record["size"] for name, record in files
        )
    except (_Invalid, OSError):
        return False


def load_checkpoint(source: Checkpoint | str, ema_rates: Iterable[str] | None = None, report: Report = warn) -> Loaded:
    """Everything that a run needs to go on.

    source: a generation from ``find_latest`` or ``find_given``, or a model file; then its averages and optimizer are
    looked for beside it, as RaMViD does, and the step is read from its name. Local or anything blobfile opens.
    ema_rates: rates that the run keeps. ``report`` gets a line for each that has no file, and for a missing optimizer.
    InputError: damaged, missing, not finite, or of another program.
    """
    source = find_given(source) if isinstance(source, str) else source
    step = step_of(source)
    if isinstance(source, Checkpoint):
        folder, where = source.log_dir, f"checkpoint of step {step} in {source.log_dir}"
        model, beside = f"model{step:06d}.safetensors", list(source.manifest["files"])
        extra = dict(source.manifest.get("extra", {}))  # of version 0.1; now it lies with the optimizer
        if (old := source.manifest["versions"]["torch"]) != torch.__version__:
            report(f"saved with torch {old}, resumed with {torch.__version__}: results may differ in the last bits")
    else:
        (folder, model), where, extra = os.path.split(source), source, {}
        beside = [] if _model_step(model) is None else names_in(folder)
    weights, config = load_weights(os.path.join(folder, model))
    loaded = Loaded(step, weights, {}, None, extra, config)
    for name in beside:
        part = _OWN.fullmatch(name)
        if not part or int(part["step"]) != step or name.startswith("model"):
            continue
        path = os.path.join(folder, name)
        if part["rate"]:
            loaded.ema[part["rate"]] = load_weights(path)[0]
        else:
            loaded.optimizer, own = _load_optimizer(path, list(loaded.model))
            loaded.extra |= own
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


def _manifest_path(log_dir: str, step: int) -> str:
    return os.path.join(log_dir, f"checkpoint{step:06d}.json")


def steps_in(log_dir: str) -> list[int]:
    """Steps of all manifests in a folder by their names, verified or not, ascending."""
    return sorted(int(found["step"]) for name in names_in(log_dir) if (found := _MANIFEST.fullmatch(name)))


def _manifest(log_dir: str, step: int) -> dict[str, Any]:
    """The manifest, whose parts and file names were checked, but not the files."""
    path = _manifest_path(log_dir, step)
    name = os.path.basename(path)
    try:
        with open(path, encoding="utf-8") as file:
            manifest = read_json(file.read(), path)
        files, dicts = manifest["files"], (manifest["files"], manifest.get("extra", {}))
        if manifest["step"] != step or not all(isinstance(each, dict) for each in dicts):
            raise _Invalid(f"{name} is damaged")
        if not isinstance(manifest["versions"]["torch"], str):
            raise _Invalid(f"{name} is damaged (versions)")
    except FileNotFoundError:
        raise _Invalid(f"{name} is missing (the run ended while saving, or it was deleted)") from None
    except (OSError, ValueError, InputError, KeyError, TypeError) as error:
        raise _Invalid(f"{name} is damaged ({error})") from error
    for listed in files:
        if not (found := _OWN.fullmatch(listed)) or int(found["step"]) != step:
            raise _Invalid(f"{name} lists {listed!r}, which is no file of this step")
    return manifest


def _verified(log_dir: str, step: int) -> dict[str, Any]:
    """The manifest of a valid generation, else _Invalid."""
    manifest, listed = _manifest(log_dir, step), os.path.basename(_manifest_path(log_dir, step))
    for name, expected in manifest["files"].items():
        path = os.path.join(log_dir, name)
        try:
            if (size := os.path.getsize(path)) != expected["size"]:
                raise _Invalid(f"{name} has {size} bytes instead of the {expected['size']} in {listed}")
            if sha256_of([path]) != expected["sha256"]:
                raise _Invalid(f"{name} has changed since {listed} was written (checksum)")
        except FileNotFoundError:
            raise _Invalid(f"{name} is missing, which {listed} lists") from None
        except (OSError, TypeError, KeyError) as error:
            raise _Invalid(f"{name} cannot be read ({error})") from error
    return manifest


def _forget(log_dir: str, step: int, keep: int) -> None:
    """Delete what is older than the ``keep`` newest valid generations up to ``step``: files first, manifest last."""
    valid = 0
    for old in sorted((each for each in steps_in(log_dir) if each <= step), reverse=True):
        try:
            if valid < keep:
                _verified(log_dir, old)
                valid += 1
                continue
            names = [*_manifest(log_dir, old)["files"], os.path.basename(_manifest_path(log_dir, old))]
        except _Invalid:
            continue
        for path in (os.path.join(log_dir, name) for name in names):
            if os.path.exists(path):
                os.remove(path)


def _model_step(name: str) -> int | None:
    """The step in the name of a model file, None: it has none."""
    found = _OWN.fullmatch(name)
    return int(found["step"]) if found and name.startswith("model") else None


def _load_optimizer(path: str, names: list[str]) -> tuple[State, dict[str, Any]]:
    """Of this program or of RaMViD, which numbers the parameters in the order of ``names``; and what else was saved."""
    with local_copy(path) as local:
        if path.endswith(".pt"):
            state, extra = optimizer_state.from_ramvid(read_pickle(local, path), names, path), {}
        else:
            state, extra = optimizer_state.unpack(*read_tensors(local, path), path)
    for entry in state.values():
        check_finite({key: value for key, value in entry.items() if isinstance(value, torch.Tensor)}, path)
    return state, extra
