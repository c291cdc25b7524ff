"""Exponential moving average of the weights (improved-diffusion's rule): the weights that sampling uses."""

from collections.abc import Mapping

import torch


class EMA:
    """ema <- rate * ema + (1 - rate) * p, in float32 whatever the precision of p.

    rate: in [0, 1).  parameters: name -> tensor, the model's parameters or its whole state dict; they are copied.
    Tensors that are not floating point (counters) follow the model unaveraged.
    """

    def __init__(self, rate: float, parameters: Mapping[str, torch.Tensor]):
        if not 0 <= rate < 1:
            raise ValueError(f"the rate of an average must be in [0, 1), not {rate}")
        self.rate = rate
        self._shadow = {name: _copy(value) for name, value in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, torch.Tensor], step: int | None = None) -> None:
        """Take in the weights after an optimizer step. ValueError: names or shapes are not those of the average.

        step: of the run, from 0. Given, the average warms up: it takes the rate min(rate, (1 + step) / (10 + step)), so
        that the random weights of the start are forgotten at once (at 0.9999 alone, 82 % are left after 2,000 steps).
        """
        self._check(parameters)
        rate = self.rate if step is None else min(self.rate, (1 + step) / (10 + step))
        averages, values = [], []
        for name, average in self._shadow.items():
            if average.is_floating_point():
                averages.append(average)
                values.append(parameters[name].detach().to(average))
            else:
                average.copy_(parameters[name])
        torch._foreach_mul_(averages, rate)  # all at once: on a GPU a call each would take longer than the sums
        torch._foreach_add_(averages, values, alpha=1 - rate)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averages themselves, not copies: as with a module's state dict, a later ``update`` changes them."""
        return dict(self._shadow)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Copy ``state`` into the average. ValueError: names or shapes are not those of the average."""
        self._check(state)
        for name, average in self._shadow.items():
            average.copy_(state[name])

    def _check(self, other: Mapping[str, torch.Tensor]) -> None:
        for name in {*self._shadow, *other}:
            if name not in other or name not in self._shadow or other[name].shape != self._shadow[name].shape:
                raise ValueError(f"{name}: not the same weights as in the average")


def _copy(value: torch.Tensor) -> torch.Tensor:
    value = value.detach().clone()
    return value.float() if value.is_floating_point() else value
