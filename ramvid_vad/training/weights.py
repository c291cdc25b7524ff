"""One file of tensors: safetensors with the settings inside, or RaMViD's .pt read without executing anything."""

import json
import mmap
import os
import re
import shlex
import warnings
from collections.abc import Mapping
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch.torch_version import TorchVersion

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import FileSet, local_copy

Tensors = dict[str, torch.Tensor]


def save_weights(path: str, state_dict: Mapping[str, torch.Tensor], config: dict[str, Any] | None) -> None:
    """Write one .safetensors file with ``config`` as JSON in its metadata, whole or not at all.

    OSError: it could not be written; a file that was there before is as it was.
    """
    with FileSet(os.path.dirname(path)) as files:
        add_tensors(files, os.path.basename(path), state_dict, {"config": json.dumps(config)})
        files.commit()


def load_weights(path: str) -> tuple[Tensors, dict[str, Any] | None]:
    """The tensors (on the CPU) and the configuration, None where the file holds none.

    path: .safetensors, or any other ending for what ``torch.save`` wrote; local or anything blobfile opens.
    InputError: missing, damaged, not a dict of tensors, or a pickle that would execute code.
    """
    with local_copy(path) as local:
        if not path.endswith(".safetensors"):
            return as_tensors(read_pickle(local, path), path), None
        tensors, metadata = read_tensors(local, path)
    return tensors, read_json(metadata.get("config", "null"), path)


def add_tensors(files: FileSet, name: str, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Add one safetensors file to a set; it is opened again and compared bit for bit.

    metadata: one entry at most, because the format writes several in no fixed order and equal runs give equal files.
    """
    plain = _plain(tensors)

    def write(path: str) -> None:
        try:
            save_file(plain, path, metadata=metadata)
        except SafetensorError as error:
            raise OSError(f"{name}: {error}") from error

    def check(path: str) -> None:
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                same = file.metadata() == metadata
            same = same and _holds(path, plain)
        except SafetensorError as error:
            raise OSError(f"{name}: cannot be opened again: {error}") from error
        if not same:
            raise OSError(f"{name}: the disk gave back other content than was written")

    files.add(name, write, check)


def _holds(path: str, tensors: Tensors) -> bool:
    """Does a valid safetensors file hold these tensors, bit for bit, and no others?

    Not by get_tensor, of which safetensors 0.8 keeps 28 bytes a time (a run saves for weeks), but from the file's own
    memory: 8 bytes with the length of a JSON header, in which each tensor has its place in what follows.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        begin, header = _header(content)
        return header.keys() == tensors.keys() and _same(np.frombuffer(content, np.uint8)[begin:], header, tensors)


def _same(stored: np.ndarray, header: dict[str, dict[str, Any]], tensors: Tensors) -> bool:
    """Are shapes, dtypes and bytes those of the tensors? stored: uint8, what follows the header."""
    _, expected = _header(save({name: value.new_empty(0) for name, value in tensors.items()}))
    for name, value in tensors.items():
        first, end = header[name]["data_offsets"]
        ours = value.reshape(-1).view(torch.uint8).numpy()
        if header[name]["shape"] != list(value.shape) or header[name]["dtype"] != expected[name]["dtype"]:
            return False
        if not np.array_equal(stored[first:end], ours):
            return False
    return True


def _header(content: Any) -> tuple[int, dict[str, dict[str, Any]]]:
    """Where the tensors of a safetensors file begin, and what its header says of each."""
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    return begin, {name: entry for name, entry in header.items() if name != "__metadata__"}


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
