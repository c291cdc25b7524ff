"""A space as one safetensors file, its settings as JSON inside."""

import json

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import replacing
from ramvid_vad.spaces.features import FeatureSpace


def save_space(space: FeatureSpace, path: str) -> None:
    """Write one .safetensors file, whole or not at all. InputError: it cannot be written."""
    about = {"space": json.dumps({"name": space.name, "settings": space.settings()}, sort_keys=True)}
    tensors = {name: tensor.contiguous() for name, tensor in space.tensors().items()}
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata=about)
    except (OSError, SafetensorError) as error:  # the second: what safetensors makes of a full disk
        raise InputError(f"{path}: cannot be written ({error}); free or grant space there") from error


def load_space(path: str, **here: str) -> FeatureSpace:
    """The space that ``save_space`` wrote. here: what it needs of this machine, such as ``weights``, the backbone's.

    InputError: missing, damaged, or of a kind that this version does not know.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            about = json.loads((file.metadata() or {})["space"])
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if about["name"] != FeatureSpace.name:
            raise ValueError(about["name"])
        return FeatureSpace(**about["settings"], **tensors, **here)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: it lies beside the checkpoint that was trained in it") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a space of this version, or damaged ({reason}); copy it again") from None
