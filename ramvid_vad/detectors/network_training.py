"""The training that the networks of other papers' methods share: AdamW, a cosine over time, checkpoints to go on from.

``folder`` gets a generation of checkpoints every few minutes (see training/checkpoints.py), whose weights
are never deleted, and ``training.jsonl``, a line for each with the losses: what a curve over training is drawn from.
"""

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ramvid_vad.errors import InputError, RunError
from ramvid_vad.runtime.files import write_text
from ramvid_vad.runtime.progress import progress_bar, warn
from ramvid_vad.runtime.randomness import stream
from ramvid_vad.runtime.signals import Terminated, finishing
from ramvid_vad.training.checkpoints import find_latest, load_checkpoint, save_checkpoint, steps_in
from ramvid_vad.training.optimizer_state import restore_optimizer
from ramvid_vad.training.weights import load_weights

LOG = "training.jsonl"


def train_network(
    network: nn.Module,
    step: Callable[[np.random.Generator], torch.Tensor],
    *,
    minutes: float,
    folder: str,
    lr: float,
    weight_decay: float = 0.01,
    held_out: Callable[[], float] | None = None,
    compared: Mapping[str, float] | None = None,
    seed: int = 0,
    save_every_minutes: float = 5.0,
    progress: bool = True,
) -> None:
    """Train for ``minutes`` of computing, counted over all calls on this folder; the same call goes on.

    step: the loss () of one step, a pure function of the network and of the random numbers it is given, which depend on
    ``seed`` and the step's number alone.  lr: at the start; it falls to 0 as a cosine over ``minutes``.  held_out: the
    loss on normal video that is not trained on, for the log.  compared: figures to compare it with, for the log's first
    line.  weight_decay: of matrices and kernels alone, not of biases and norms.  The network ends in evaluation mode.
    InputError: checkpoints of another network, a damaged log, or the folder cannot be written.  RunError: the loss is
    not finite.  KeyboardInterrupt: a signal ended it, after a checkpoint.
    """
    groups = [
        {"params": [(name, p)], "weight_decay": weight_decay if p.ndim > 1 else 0.0}
        for name, p in network.named_parameters()
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    try:
        os.makedirs(folder, exist_ok=True)
        number, seconds, lines = _resume(network, optimizer, folder)
        budget, saved = 60 * minutes, seconds
        losses: list[float] = []
        with (
            progress_bar("training", "s", round(budget), round(seconds), shown=progress) as bar,
            finishing(warn, "step") as stop,
        ):
            while seconds < budget and not stop:
                began = time.monotonic()
                for group in optimizer.param_groups:
                    group["lr"] = lr * (1 + math.cos(math.pi * seconds / budget)) / 2
                network.train()
                loss = step(stream(seed, "network training", number))
                if not loss.isfinite():
                    raise RunError(f"{folder}: the loss of step {number} is {loss.item()}: try another seed")
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                number += 1
                spent = time.monotonic() - began
                seconds += spent
                bar.update(spent)
                if seconds >= budget or stop or seconds - saved >= 60 * save_every_minutes:
                    saved = seconds
                    known = {} if lines else dict(compared or {})
                    lines.append(_line(network, number, seconds, losses, held_out) | known)
                    losses = []
                    # before the checkpoint, which is never without its line: who goes on drops lines beyond it
                    write_text(os.path.join(folder, LOG), "".join(f"{json.dumps(line)}\n" for line in lines))
                    save_checkpoint(folder, number, network.state_dict(), {}, optimizer, {"seconds": seconds}, {})
                    # twice the weights' size, and only to go on from: the last two, should the newest be damaged
                    for old in [each for each in steps_in(folder) if each < number][:-1]:
                        Path(folder, f"opt{old:06d}.safetensors").unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error}): give another folder, or free space") from None
    network.eval()
    if stop:
        kind = Terminated if stop.name == "SIGTERM" else KeyboardInterrupt
        raise kind(f"goes on from step {number}")


def seconds_at_steps(folder: str) -> dict[int, float]:
    """Step of each checkpoint that a training left in its folder, ascending -> seconds of training until then.
    {}: there is none, or no folder."""
    if not os.path.exists(os.path.join(folder, LOG)):
        return {}
    seconds = {line["step"]: line["seconds"] for line in _log(folder)}
    return {step: seconds[step] for step in steps_in(folder) if step in seconds}


def restore_step(network: nn.Module, folder: str, step: int) -> None:
    """Give the network its weights of one of ``seconds_at_steps``. InputError: damaged, or of another network."""
    path = os.path.join(folder, f"model{step:06d}.safetensors")
    try:
        network.load_state_dict(load_weights(path)[0])
    except RuntimeError:
        raise InputError(f"{path}: of another network: give the folder that this detector was trained in") from None


def _log(folder: str) -> list[dict[str, float]]:
    """InputError: missing or damaged."""
    path = os.path.join(folder, LOG)
    try:
        with open(path, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        if not all(math.isfinite(line["step"] + line["seconds"]) for line in lines):
            raise ValueError("not finite")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: missing or damaged ({error}): give another folder") from None
    return lines


def _resume(network: nn.Module, optimizer: torch.optim.Optimizer, folder: str) -> tuple[int, float, list[dict]]:
    """Steps and seconds done, and the log so far."""
    found = find_latest(folder)
    if found is None:
        return 0, 0.0, []
    loaded = load_checkpoint(found, ema_rates=())
    try:
        network.load_state_dict(loaded.model)
        restore_optimizer(optimizer, loaded.optimizer or {})
        seconds = float(loaded.extra["seconds"])
    except (RuntimeError, KeyError, ValueError, TypeError):
        raise InputError(f"{folder}: its checkpoints are of another network: give another folder") from None
    return loaded.step, seconds, [line for line in _log(folder) if line["step"] <= loaded.step]


def _line(
    network: nn.Module, number: int, seconds: float, losses: list[float], held_out: Callable[[], float] | None
) -> dict[str, float]:
    line = {"step": number, "seconds": round(seconds, 1), "loss": float(np.mean(losses))}
    if held_out is not None:
        network.eval()
        with torch.inference_mode():
            line["held_out"] = float(held_out())
    return line
