"""One file of tensors: safetensors with the settings inside, or RaMViD's .pt read without executing anything."""

import json
import os
import re
import shlex
import warnings
from collections.abc import Mapping
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.torch_version import TorchVersion

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import replacing
from ramvid_vad.runtime.remote import is_remote, local_copy

Tensors = dict[str, torch.Tensor]


def save_weights(path: str, state_dict: Mapping[str, torch.Tensor], config: dict[str, Any] | None) -> None:
    """Write one .safetensors file with ``config`` as JSON in its metadata, whole or not at all.

    OSError: it could not be written; a file that was there before is as it was.  InputError: a remote path, or weights
    that are not finite.
    """
    if is_remote(path):
        raise InputError(f"{path}: files are written to a local folder only; copy them from there")
    check_finite(state_dict, path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with replacing(path) as temporary:
        write_tensors(temporary, state_dict, {"config": json.dumps(config)})


def load_weights(path: str) -> tuple[Tensors, dict[str, Any] | None]:
    """The tensors (on the CPU) and the configuration, None where the file holds none.

    path: .safetensors, or any other ending for what ``torch.save`` wrote; local or anything blobfile opens.
    InputError: missing, damaged, not a dict of tensors, not finite, or a pickle that would execute code.
    """
    with local_copy(path) as local:
        if path.endswith(".safetensors"):
            tensors, metadata = read_tensors(local, path)
        else:
            tensors, metadata = as_tensors(read_pickle(local, path), path), {}
    check_finite(tensors, path)
    return tensors, read_json(metadata.get("config", "null"), path)


def write_tensors(path: str, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write one safetensors file.

    metadata: one entry at most, because the format writes several in no fixed order and equal runs give equal files.
    """
    try:
        save_file(_plain(tensors), path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(f"{os.path.basename(path)}: {error}") from error


def check_finite(tensors: Mapping[str, torch.Tensor], name: str) -> None:
    """InputError: a tensor holds nan or infinity, which a network only spreads, or has too few bits to tell."""
    for key, value in tensors.items():
        if value.is_floating_point() and value.element_size() == 1:
            raise InputError(f"{name}: {key} is {str(value.dtype).removeprefix('torch.')}; float32 is needed")
        if not value.isfinite().all():
            raise InputError(f"{name}: {key} is not finite (nan or infinity); take an earlier checkpoint")


def read_tensors(local: str, name: str) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of a safetensors file; ``name`` is what an InputError calls it."""
    try:
        with safe_open(local, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key).clone() for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{name}: damaged ({error}); copy it again or take an earlier checkpoint") from error


def read_pickle(local: str, name: str) -> Any:
    """What ``torch.save`` wrote: tensors, numbers, strings and containers of them, nothing else, and no code is run."""
    if TorchVersion(torch.__version__) < (2, 6):
        raise InputError(f"{name}: torch {torch.__version__} can be made to run code by a .pt file; use torch >= 2.6")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(local, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        reason = re.search(r"WeightsUnpickler error:\s*(?:Unsupported global: )?(GLOBAL \S+|[^\n]*)", str(error))
        asked = reason[1] if reason else "no torch file"
        raise InputError(
            f"{name}: refused, it is not only tensors ({asked}) and could run code; if you trust who made it: "
            f"python scripts/convert_checkpoint.py --i_trust_this_file {shlex.quote(name)}"
        ) from error
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError ... on damaged files
        why = str(error).split("\n")[0].split(". ")[0] or type(error).__name__
        raise InputError(f"{name}: damaged ({why}); copy it again or take an earlier checkpoint") from error


def convert_untrusted(path: str, out: str) -> list[str]:
    """Rewrite a pickle as safetensors. THIS EXECUTES whatever code the file holds. Returns the tensors' names.

    The weights may be the file's own dict, a module, or lie under "state_dict", "model" or "model_state_dict".
    """
    with local_copy(path) as local:
        try:
            found = torch.load(local, map_location="cpu", weights_only=False)
        except Exception as error:
            raise InputError(f"{path}: cannot be loaded ({error})") from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(found, dict) and isinstance(found.get(key), dict | torch.nn.Module):
            found = found[key]
    if isinstance(found, torch.nn.Module):
        found = found.state_dict()
    tensors = as_tensors(found, path)
    save_weights(out, tensors, None)
    return list(tensors)


def as_tensors(found: Any, name: str) -> Tensors:
    """``found`` if it is a dict of plain tensors, else InputError."""
    if not isinstance(found, dict) or not found:
        raise InputError(f"{name}: holds a {type(found).__name__}, not a dict of tensors; give a model file")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise InputError(f"{name}: entry {key!r} is a {type(value).__name__}, not a tensor; give a model file")
        if value.layout != torch.strided or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise InputError(f"{name}: entry {key!r} claims shape {tuple(value.shape)} without the data for it")
    return {key: value.detach() for key, value in found.items()}


def read_json(text: str, name: str) -> Any:
    """A dict or None from JSON inside a file, else InputError."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: damaged settings ({error}); copy it again") from error
    if value is not None and not isinstance(value, dict):
        raise InputError(f"{name}: damaged settings (a {type(value).__name__} instead of a table); copy it again")
    return value


def _plain(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """On the CPU, contiguous, and no two on the same memory, which the format forbids."""
    plain: Tensors = {}
    seen: set[int] = set()
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        if value.untyped_storage().data_ptr() in seen:
            value = value.clone()
        seen.add(value.untyped_storage().data_ptr())
        plain[name] = value
    return plain
