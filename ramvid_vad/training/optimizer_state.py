"""The optimizer's memory by parameter name, as tensors and JSON: nothing is pickled, every bit comes back."""

import json
from typing import Any

import torch

from ramvid_vad.errors import InputError

State = dict[str, dict[str, Any]]  # parameter name -> {"exp_avg": tensor, "step": tensor or number ...}


def optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    """State of every parameter of an optimizer that was made from named parameters, empty for one that has not been
    stepped; tensors are not copied."""
    return {name: dict(optimizer.state.get(p, {})) for name, p in _named(optimizer).items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Put ``state`` into the optimizer, bit for bit.

    Learning rate, weight decay and the other hyper-parameters stay the optimizer's: they follow from the options and
    the step. InputError: the state belongs to other parameters.
    """
    named = _named(optimizer)
    for name in sorted({*named, *state}):
        if name not in named or name not in state:
            where = "the model" if name in named else "the checkpoint"
            raise InputError(f"optimizer state does not fit: only {where} has {name}; resume with the same model")
        for key, value in state[name].items():
            if isinstance(value, torch.Tensor) and value.dim() and value.shape != named[name].shape:
                shapes = f"{tuple(value.shape)}, the parameter {tuple(named[name].shape)}"
                raise InputError(f"optimizer state does not fit: {key} of {name} is {shapes}; resume the same model")
    template = optimizer.state_dict()
    name_of = {id(p): name for name, p in named.items()}
    indices = [index for group in template["param_groups"] for index in group["params"]]
    tensors = [p for group in optimizer.param_groups for p in group["params"]]
    entries = {i: state[name_of[id(p)]] for i, p in zip(indices, tensors, strict=True)}
    copies = {
        i: {key: _copy(value, p) for key, value in entries[i].items()}
        for i, p in zip(indices, tensors, strict=True)
        if entries[i]
    }
    optimizer.load_state_dict({"state": copies, "param_groups": template["param_groups"]})


def pack(state: State, extra: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors "exp_avg/NAME" and metadata for one safetensors file. TypeError: a value JSON cannot hold."""
    tensors = {f"{key}/{name}": value for name, entry in state.items() for key, value in _tensors(entry).items()}
    numbers = {
        name: {key: value for key, value in entry.items() if key not in _tensors(entry)}
        for name, entry in state.items()
    }
    return tensors, {"training": json.dumps({"parameters": numbers, "extra": extra})}


def unpack(tensors: dict[str, torch.Tensor], metadata: dict[str, str], name: str) -> tuple[State, dict[str, Any]]:
    """The inverse of ``pack``. InputError: the file is none of ours.

    Version 0.1 kept ``extra`` in the manifest, and the parameters' numbers alone here.
    """
    try:
        packed = json.loads(metadata["training"]) if "training" in metadata else None
        numbers = packed["parameters"] if packed else json.loads(metadata["parameters"])
        extra = dict(packed["extra"]) if packed else {}
        state = {parameter: dict(entry) for parameter, entry in numbers.items()}
        for key, value in tensors.items():
            kind, parameter = key.split("/", 1)
            state[parameter][kind] = value
    except (KeyError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(
            f"{name}: not an optimizer state of this program; remove it to start the optimizer afresh"
        ) from error
    return state, extra


def from_ramvid(found: Any, names: list[str], name: str) -> State:
    """State of RaMViD's ``opt000100.pt``, which numbers the parameters in the order of the model file.

    InputError: another number of parameters, as in its fp16 runs, which keep one flat copy of all weights.
    """
    try:
        order = [index for group in found["param_groups"] for index in group["params"]]
        entries = {index: dict(found["state"].get(index, {})) for index in order}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{name}: not an optimizer state; remove it to start the optimizer afresh") from error
    if len(order) != len(names):
        raise InputError(
            f"{name}: state of {len(order)} tensors for a model of {len(names)} (a fp16 run keeps one flat copy); "
            "remove it to start the optimizer afresh"
        )
    return {parameter: entries[index] for parameter, index in zip(names, order, strict=True)}


def _tensors(entry: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in entry.items() if isinstance(value, torch.Tensor)}


def _named(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Name -> tensor for exactly the tensors of the optimizer."""
    tensors = [p for group in optimizer.param_groups for p in group["params"]]
    names = [name for group in optimizer.param_groups for name in group.get("param_names", ())]
    if len(names) != len(tensors):
        raise ValueError(f"names for {len(names)} of the optimizer's {len(tensors)} tensors; pass its named parameters")
    return dict(zip(names, tensors, strict=True))


def _copy(value: Any, parameter: torch.Tensor) -> Any:
    """A copy that lies in memory as its parameter does: fused optimizers walk both side by side."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.shape != parameter.shape:
        return value.detach().clone()
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value.detach())
