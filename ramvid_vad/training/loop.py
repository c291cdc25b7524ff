"""The training loop. All that is random is a function of (seed, step, sample): to resume, the step is enough."""

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from ramvid_vad.diffusion.anchors import AnchorPattern, batch_of
from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.errors import InputError, RunError
from ramvid_vad.models.precision import network_autocast
from ramvid_vad.models.unet import UNet
from ramvid_vad.options import TrainOptions
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.runtime.randomness import StepNoise, stream
from ramvid_vad.runtime.signals import finishing
from ramvid_vad.training.checkpoints import Loaded, save_checkpoint
from ramvid_vad.training.ema import EMA
from ramvid_vad.training.held_out import HeldOut
from ramvid_vad.training.nonfinite import advice, dump
from ramvid_vad.training.optimizer_state import restore_optimizer
from ramvid_vad.training.schedules import TIMESTEP_SAMPLERS, LossScale, global_norm, learning_rate

DRAWING_THREADS = 4  # draw noise while a GPU computes
Batches = Callable[[int], Iterator[tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]]]


class TrainLoop:
    """Trains ``model`` on ``batches`` until the options say stop; ``run`` returns the number of completed steps.

    batches(start_step) yields (frames (B,C,T,H,W) in [-1,1], cond, sample ids (B,)) of this rank from that step on.
    resumed: the checkpoint to go on from, or None.  config: written into the checkpoints.  names: of the videos that
    cond["video"] counts, for the dump of a run that ends with numbers that are not finite.  channels: of each group of
    the space.  held_out: normal windows whose loss the log tells now and then.
    """

    def __init__(
        self,
        model: UNet,
        diffusion: GaussianDiffusion,
        batches: Batches,
        anchors: AnchorPattern,
        options: TrainOptions,
        *,
        precision: str,
        exclude_conditional: bool,
        logger: Logger,
        config: dict[str, Any],
        resumed: Loaded | None = None,
        names: Sequence[str] = (),
        channels: Sequence[int] = (),
        held_out: HeldOut | None = None,
    ):
        self.diffusion, self.batches, self.anchors, self.options = diffusion, batches, anchors, options
        self.precision, self.exclude_conditional = precision, exclude_conditional
        self.logger, self.config, self.names = logger, config, names
        self.channels, self.held_out = channels, held_out
        # of training, earlier runs too
        self.seconds = resumed.extra.get("seconds", 0.0) if resumed is not None else 0.0
        self.device = processes.dev()
        self.model = model.to(self.device).train()
        self.optimizer = torch.optim.AdamW(
            model.named_parameters(), lr=options.lr, weight_decay=options.weight_decay, fused=True
        )
        rates = [rate.strip() for rate in options.ema_rate.split(",") if rate.strip()]
        self.scale = LossScale(options.fp16_scale_growth if precision == "fp16" else 0.0)
        self.timesteps = TIMESTEP_SAMPLERS[options.schedule_sampler](diffusion.num_timesteps, options.seed)
        threads = DRAWING_THREADS if self.device.type == "cuda" else 0
        self.noise = StepNoise(options.seed, options.batch_size * processes.world_size(), threads)
        self.step = 0
        if resumed is not None:
            self._resume(resumed)
        self.network: torch.nn.Module = model
        if processes.world_size() > 1:
            # a 1x1x1 weight's gradient has no one order of strides; that costs a copy of a few kilobytes
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            self.network = DistributedDataParallel(
                model, device_ids=[self.device.index] if self.device.type == "cuda" else None
            )  # which gives every rank the weights of rank 0
        self.ema = {rate: EMA(float(rate), model.state_dict()) for rate in rates}
        for rate, average in self.ema.items():
            if resumed is not None and rate in resumed.ema:
                average.load_state_dict(resumed.ema[rate])
        self.pending: list[tuple[int, float]] = []  # (timestep, loss) since the last log line
        self.skipped = 0  # steps in a row, up to now
        self.saved = self.start = self.step
        self._keep()

    def run(self) -> int:
        """Train, log and save; a signal or a limit of time or steps ends it after a whole step, with a checkpoint.

        A checkpoint is of the last step that was not skipped: a run that goes on meets the skipped ones again, with the
        same numbers, and counts them again. RunError: the run has diverged, or its last checkpoint cannot be saved.
        """
        options, before, logged = self.options, self.seconds, self.step
        started = last_log = time.monotonic()
        batches = self.batches(self.step)
        with (
            finishing(self.logger.warn, "step") as self.stop,
            progress_bar("training", "step", self._last_step(), self.step, shown=processes.rank() == 0) as bar,
        ):
            while not self._finished(started):
                frames, cond, samples = next(batches)
                self.seconds = before + time.monotonic() - started
                rate = learning_rate(self.step, options, self._share_of_time())  # of this step
                self._train_step(frames, cond, samples.tolist(), rate)
                self.step += 1
                if not self.skipped:
                    self._keep()
                bar.update()
                if self.step % options.log_interval == 0:
                    now = time.monotonic()
                    self._log(rate, (self.step - logged) / (now - last_log))
                    last_log, logged = now, self.step
                if self.step % options.save_interval == 0 and self.step != self._last_step():
                    self._save()
            self.stop.name = next(filter(None, processes.all_gather_object(self.stop.name)), "")  # whoever heard it
            if not self._save(last=True):
                raise RunError(f"the last checkpoint, of step {self.good}, could not be saved: see the warning above")
            if self.skipped:
                self._end_while_skipping()
        return self.step

    def _train_step(self, frames: torch.Tensor, cond: dict[str, torch.Tensor], samples: list[int], rate: float) -> None:
        options, step = self.options, self.step
        torch.manual_seed(int(stream(options.seed, "dropout", step, processes.rank()).integers(2**63)))
        t, weight = self.timesteps.draw(step, samples)
        anchors = batch_of([self.anchors(step, sample) for sample in samples], self.channels)  # True = given
        self.optimizer.zero_grad(set_to_none=True)

        size = len(samples) if options.microbatch < 1 else options.microbatch
        noise = self.noise(tuple(frames.shape[1:]), step, samples)
        there = {
            name: processes.put(value, self.device) for name, value in (("t", t), ("w", weight), ("given", anchors))
        }
        parts = []
        for first in range(0, len(samples), size):
            part = slice(first, first + size)
            last = first + size >= len(samples)
            with contextlib.nullcontext() if last or self.network is self.model else self.network.no_sync():
                terms = self.diffusion.training_losses(
                    self._call_network,
                    processes.put(frames[part], self.device),
                    there["t"][part],
                    there["given"][part],
                    processes.put(noise[part], self.device),
                    exclude_conditional=self.exclude_conditional,
                    y=processes.put(cond["y"][part], self.device) if "y" in cond else None,
                )
                loss = (terms["loss"] * there["w"][part]).sum() / len(samples)
                (loss * self.scale.value).backward()
            parts.append(terms["loss"].detach())

        # unscale, check, clip, step: in this order
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm, *losses = torch.cat([global_norm(gradients)[None], *parts]).tolist()  # here alone a GPU is waited for
        norm /= self.scale.value
        finite = not processes.any_true(not all(map(math.isfinite, [norm, *losses])))  # all ranks step, or none
        if finite:
            factor = min(1.0, options.clip / (norm + 1e-6)) if options.clip else 1.0
            torch._foreach_mul_(gradients, factor / self.scale.value)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            weights = self.model.state_dict()
            for average in self.ema.values():
                average.update(weights, step if options.ema_warmup else None)
        self._record(t.tolist(), losses, norm, finite)
        if len(self.anchors.kinds) > 1:
            for sample, loss in zip(samples, losses, strict=True):
                self.logger.logkv_mean(f"loss_{self.anchors.kind(step, sample)}", loss)
        self._count_skip(finite, samples, cond, {"timesteps": t.tolist(), "losses": losses, "gradient_norm": norm})
        self.scale.update(finite)

    def _share_of_time(self) -> float:
        """Of --max_minutes, earlier runs included; rank 0's clock is everybody's."""
        minutes = self.options.max_minutes
        return processes.from_rank_0(lambda: self.seconds / 60 / minutes) if minutes else 0.0

    def _call_network(self, *inputs: torch.Tensor, **keywords: torch.Tensor | None) -> torch.Tensor:
        with network_autocast(self.precision, self.device):
            return self.network(*inputs, **keywords)

    def _record(self, t: list[int], losses: list[float], norm: float, finite: bool) -> None:
        """Keep what the next log line will tell; a timestep sampler that learns from losses gets those of all ranks."""
        pairs = list(zip(t, losses, strict=True))
        self.pending += pairs
        if self.timesteps.learns and finite:
            for timestep, loss in _of_all_ranks(pairs):
                self.timesteps.update(timestep, loss)
        self.logger.logkv_mean("grad_norm", norm)

    def _count_skip(
        self, finite: bool, samples: list[int], cond: dict[str, torch.Tensor], figures: dict[str, Any]
    ) -> None:
        """A step with a loss or gradient that is not finite changes nothing; too many in a row end the run."""
        self.skipped = 0 if finite else self.skipped + 1
        if finite:
            return
        self.logger.warn(
            f"step {self.step}: non-finite loss or gradient, the step is skipped (loss scale {self.scale.value:g})"
        )
        if self.skipped < self.options.max_skipped_steps:
            return
        where = [{"id": sample} for sample in samples]
        if self.names:
            places = zip(where, cond["video"].tolist(), cond["start"].tolist(), strict=True)
            where = [sample | {"video": self.names[video], "start": start} for sample, video, start in places]
        about = {"step": self.step, "rank": processes.rank(), "samples": where, "loss_scale": self.scale.value}
        seen = dump(self.logger.dir, self.step, about | figures)
        raise RunError(
            f"{self.skipped} steps in a row had a loss or gradient that is not finite; {seen}; "
            f"{advice(self.precision, self.saved == self.good > 0)}"
        )

    def _log(self, rate: float, steps_per_second: float) -> None:
        """Means since the last line over all ranks; the loss also by quartile of the timestep, 0 = least noise."""
        for timestep, loss in _of_all_ranks(self.pending):
            self.logger.logkv_mean("loss", loss)
            self.logger.logkv_mean(f"loss_q{4 * timestep // self.diffusion.num_timesteps}", loss)
        self.pending = []
        every = self.options.held_out_interval
        if self.held_out is not None and self.step // every > (self.step - self.options.log_interval) // every:
            self.model.eval()
            for kind, loss in self.held_out.losses(self._call_network, self.diffusion).items():
                self.logger.logkv(f"held_out_{kind}", loss)
            self.model.train()
        self.logger.logkv("lr", rate)
        self.logger.logkv("steps_per_second", steps_per_second)
        if self.scale.growth:
            self.logger.logkv("log2_loss_scale", self.scale.exponent)
        self.logger.dumpkvs(self.step)

    def _keep(self) -> None:
        """This step is good: note what its checkpoint holds besides the tensors, which skipped steps leave alone."""
        self.good = self.step
        self.extra = {
            "loss_scale_exponent": self.scale.exponent if self.scale.growth else None,
            "timestep_sampler": self.timesteps.state(),
            "global_batch": self.options.batch_size * processes.world_size(),
        }
        if self.options.max_minutes:
            self.extra["seconds"] = self.seconds

    def _save(self, last: bool = False) -> bool:
        """Write the checkpoint of the last good step on rank 0, unless there is one; False: that failed, and training
        goes on, if not done. RunError: the weights are not finite."""
        if self.saved == self.good:
            return True
        failure = processes.from_rank_0(self._write)
        if isinstance(failure, InputError):
            raise RunError(f"diverged, nothing was saved in {self.logger.dir}: {failure} and a lower --lr")
        if failure is not None:
            again = "" if last else "; training goes on and tries again at the next interval"
            self.logger.warn(f"{failure}{again}")
            return False
        self.saved = self.good
        return True

    def _write(self) -> Exception | None:
        """Why it could not be saved."""
        averages = {rate: average.state_dict() for rate, average in self.ema.items()}
        parts = self.model.state_dict(), averages, self.optimizer, self.extra, self.config
        try:
            save_checkpoint(self.logger.dir, self.good, *parts, keep=self.options.keep_checkpoints)
        except (OSError, InputError) as error:
            return error
        return None

    def _end_while_skipping(self) -> None:
        """fp16 skips a step now and then, when its scale has grown too far; any other run that ends so has failed."""
        line = f"the last {self.skipped} steps were skipped: their loss or gradient was not finite"
        advised = advice(self.precision, self.good > 0)
        if self.good == self.start:
            raise RunError(f"{line}, and so nothing was learned; {advised}")
        line = f"{line}; the checkpoint is of step {self.good}"
        if not self.scale.growth:
            raise RunError(f"{line}; {advised}")
        self.logger.warn(line)

    def _resume(self, resumed: Loaded) -> None:
        self.step = resumed.step
        self.model.load_state_dict(resumed.model)
        if resumed.optimizer is not None:
            restore_optimizer(self.optimizer, resumed.optimizer)
        if self.scale.growth:  # other precisions leave none, and in version 0.1 the 0 of a scale that rests at 1
            self.scale.exponent = resumed.extra.get("loss_scale_exponent") or self.scale.exponent
        if resumed.extra.get("timestep_sampler"):
            self.timesteps.load_state(resumed.extra["timestep_sampler"])
        batch = self.options.batch_size * processes.world_size()
        if resumed.extra.get("global_batch", batch) != batch:
            before = resumed.extra["global_batch"]
            self.logger.warn(f"the global batch was {before} and is now {batch}: the data order changes from here")

    def _last_step(self) -> int | None:
        """The step the options end at, None: never."""
        return min((end for end in (self.options.max_steps, self.options.lr_anneal_steps) if end), default=None)

    def _finished(self, started: float) -> bool:
        if self._last_step() is not None and self.step >= self._last_step():
            return True
        if self._share_of_time() >= 1:
            return True
        hours = self.options.max_hours
        return processes.any_true(bool(self.stop) or bool(hours and time.monotonic() - started > hours * 3600))


def _of_all_ranks(pairs: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The (timestep, loss) pairs of all ranks, in an order that is the same everywhere."""
    return sorted(pair for part in processes.all_gather_object(pairs) for pair in part)
