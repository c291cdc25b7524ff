"""What was fitted, as two files of one writing: NAME.json, its settings, and NAME.safetensors, its tensors."""

import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import replacing_together, sha256_of, write_text


def save_pair(folder: str, name: str, about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Into a folder, made where it is missing; each file is whole or absent, the JSON comes last and holds the checksum
    of the other: a kill between two renames must not mix two writings. InputError: it cannot be written."""
    try:
        with replacing_together(folder, last=f"{name}.json") as place:
            learned = os.path.join(place, f"{name}.safetensors")
            save_file({key: value.contiguous() for key, value in tensors.items()}, learned)
            whole = {**about, "tensors_sha256": sha256_of([learned])}
            text = json.dumps(whole, indent=1, sort_keys=True, allow_nan=False)
            write_text(os.path.join(place, f"{name}.json"), text + "\n")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder}: cannot be written ({error}): name another folder, or free space") from None


def tensors_of_pair(folder: str, name: str, about: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors that were saved with the settings ``about``.

    OSError, SafetensorError: they cannot be read.  KeyError, ValueError: they are of another writing.
    """
    learned = os.path.join(folder, f"{name}.safetensors")
    if sha256_of([learned]) != about["tensors_sha256"]:
        raise ValueError(f"{name}.safetensors is of another fit, or damaged")
    return load_file(learned)
