"""Optimisers: what to do with parameters once `backward()` has filled in their gradients.

The formulas are PyTorch's, so that learning rates from elsewhere carry over. Each `step()` reads `.grad` and
writes `.data`; what an optimiser remembers between steps is one float per parameter and slot.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import autodiff
from autodiff import Value
from nn.checks import above_0, at_least, below_1, check_state, real_number
from nn.schedules import Schedule

__all__ = ["SGD", "Adam", "AdamW", "Optimiser", "RMSprop", "clip_grad_norm", "clip_grad_value"]


class Optimiser:
    """What all optimisers share: parameters, learning rate, step count and remembered floats.

    `learning_rate` is a number, or a function of the number of steps already taken (see `nn.schedules`).

    >>> optimiser = SGD([Value(1.0)], learning_rate=lambda step: 0.1 / (step + 1))
    >>> optimiser.rate
    0.1
    >>> optimiser.step()
    >>> optimiser.rate, optimiser.steps
    (0.05, 1)
    """

    def __init__(self, parameters: Iterable[Value], learning_rate: float | Schedule, *slots: str) -> None:
        if not callable(learning_rate):
            at_least(0, learning_rate=learning_rate)
        self.parameters = _distinct_leaves(parameters)
        self.learning_rate = learning_rate
        self.steps = 0
        self.slots = {name: [0.0] * len(self.parameters) for name in slots}

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        rate = self.learning_rate
        return real_number("the learning rate", rate(self.steps)) if callable(rate) else rate

    def step(self) -> None:
        """Move every parameter once, against its gradient.

        >>> x = Value(3.0)
        >>> optimiser = SGD([x], learning_rate=0.1)
        >>> (x * x).backward()
        >>> optimiser.step()
        >>> round(x.data, 12)
        2.4
        """
        raise NotImplementedError(f"{type(self).__name__} defines no step(self)")

    def zero_grad(self) -> None:
        """Set every parameter's gradient to 0; `backward()` adds to what it finds.

        >>> x = Value(3.0)
        >>> (x * x).backward()
        >>> SGD([x], 0.1).zero_grad()
        >>> x.grad
        0.0
        """
        for parameter in self.parameters:
            parameter.grad = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the step count and everything remembered, as plain lists for JSON.

        >>> SGD([Value(1.0)], 0.1, momentum=0.9).state_dict()
        {'steps': 0, 'velocity': [0.0]}
        """
        return {"steps": self.steps} | {name: list(slot) for name, slot in self.slots.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up where the optimiser of this state was; learning rate and other settings are not part of it.

        >>> SGD([Value(1.0)], 0.1).load_state_dict({"steps": 7, "velocity": []})
        Traceback (most recent call last):
        ...
        ValueError: the state does not fit this SGD: it has velocity of 0 parameters, not 1
        """
        check_state(state)
        mine, whose = {"steps"} | self.slots.keys(), f"the state does not fit this {type(self).__name__}"
        if state.keys() != mine:
            raise ValueError(f"{whose}: it has {sorted(state)}, not {sorted(mine)}")
        for name, slot in self.slots.items():
            if len(state[name]) != len(slot):
                raise ValueError(f"{whose}: it has {name} of {len(state[name])} parameters, not {len(slot)}")
        steps = int(real_number("the state's steps", state["steps"]))
        self.slots = {name: [real_number(f"the state's {name}", x) for x in state[name]] for name in self.slots}
        self.steps = steps

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.parameters)} parameters, rate={self.rate:g}, steps={self.steps})"


class SGD(Optimiser):
    """Stochastic gradient descent, with momentum: v = momentum v + g, then p = p - rate v.

    With `nesterov`, the step is rate (g + momentum v): one look ahead. `weight_decay` adds that multiple of p to g.

    >>> x = Value(3.0)
    >>> optimiser = SGD([x], learning_rate=0.1, momentum=0.9)
    >>> for _ in range(3):
    ...     optimiser.zero_grad()
    ...     (x * x).backward()
    ...     optimiser.step()
    >>> round(x.data, 12)
    0.186
    """

    def __init__(
        self,
        parameters: Iterable[Value],
        learning_rate: float | Schedule,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        if nesterov and not momentum:
            raise ValueError("nesterov looks ahead along the momentum: give momentum=0.9, say")
        at_least(0, momentum=momentum, weight_decay=weight_decay)
        super().__init__(parameters, learning_rate, "velocity")
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay

    def step(self) -> None:
        """Move every parameter once, against its gradient or along its velocity."""
        rate, momentum, decay, velocity = self.rate, self.momentum, self.weight_decay, self.slots["velocity"]
        self.steps += 1
        if not (momentum or decay):  # the plain case is worth its own loop: about twice as fast
            autodiff.descend(self.parameters, rate)
            return
        for i, parameter in enumerate(self.parameters):
            step = parameter.grad
            if decay:
                step += decay * parameter.data
            if momentum:
                velocity[i] = momentum * velocity[i] + step
                step = step + momentum * velocity[i] if self.nesterov else velocity[i]
            parameter.data -= rate * step


class RMSprop(Optimiser):
    """Divide each gradient by a running root mean square of its own: s = a s + (1 - a) g^2 (Hinton 2012).

    >>> x = Value(3.0)
    >>> optimiser = RMSprop([x], learning_rate=0.1)
    >>> (x * x).backward()
    >>> optimiser.step()
    >>> round(x.data, 6)
    2.0
    """

    def __init__(
        self,
        parameters: Iterable[Value],
        learning_rate: float | Schedule = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        below_1(alpha=alpha)
        above_0(eps=eps)
        at_least(0, weight_decay=weight_decay)
        super().__init__(parameters, learning_rate, "mean_square")
        self.alpha = alpha
        self.eps = eps
        self.weight_decay = weight_decay

    def step(self) -> None:
        """Move every parameter once, by about the learning rate whatever the size of its gradient."""
        rate, alpha, mean_square = self.rate, self.alpha, self.slots["mean_square"]
        for i, parameter in enumerate(self.parameters):
            gradient = parameter.grad + self.weight_decay * parameter.data
            mean_square[i] = alpha * mean_square[i] + (1.0 - alpha) * gradient * gradient
            parameter.data -= rate * gradient / (math.sqrt(mean_square[i]) + self.eps)
        self.steps += 1


class Adam(Optimiser):
    """Running means of the gradient and of its square, both corrected for starting at 0 (Kingma and Ba 2015).

    `weight_decay` adds that multiple of p to the gradient; `AdamW` takes it from p itself.

    >>> x = Value(3.0)
    >>> optimiser = Adam([x], learning_rate=0.1)
    >>> (x * x).backward()
    >>> optimiser.step()
    >>> round(x.data, 6)
    2.9
    """

    def __init__(
        self,
        parameters: Iterable[Value],
        learning_rate: float | Schedule = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not hasattr(betas, "__len__") or len(betas) != 2:
            raise TypeError(f"betas must be two numbers, such as (0.9, 0.999), not {betas!r}")
        below_1(**{f"betas[{i}]": beta for i, beta in enumerate(betas)})
        above_0(eps=eps)
        at_least(0, weight_decay=weight_decay)
        super().__init__(parameters, learning_rate, "mean", "mean_square")
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay

    def step(self) -> None:
        """Move every parameter once, by at most about the learning rate."""
        self._move(self.rate, self.weight_decay)

    def _move(self, rate: float, decay: float) -> None:
        self.steps += 1
        (beta1, beta2), mean, mean_square = self.betas, self.slots["mean"], self.slots["mean_square"]
        stride = rate / (1.0 - beta1**self.steps)
        spread = math.sqrt(1.0 - beta2**self.steps)
        for i, parameter in enumerate(self.parameters):
            gradient = parameter.grad
            if decay:
                gradient += decay * parameter.data
            mean[i] = beta1 * mean[i] + (1.0 - beta1) * gradient
            mean_square[i] = beta2 * mean_square[i] + (1.0 - beta2) * gradient * gradient
            parameter.data -= stride * mean[i] / (math.sqrt(mean_square[i]) / spread + self.eps)


class AdamW(Adam):
    """Adam with the decay of the weights kept apart from the gradients: p = p - rate decay p (Loshchilov 2019).

    >>> x = Value(3.0)
    >>> optimiser = AdamW([x], learning_rate=0.1, weight_decay=0.1)
    >>> (x * x).backward()
    >>> optimiser.step()
    >>> round(x.data, 6)
    2.87
    """

    def __init__(
        self,
        parameters: Iterable[Value],
        learning_rate: float | Schedule = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, learning_rate, betas, eps, weight_decay)

    def step(self) -> None:
        """Shrink every parameter a little, then move it as Adam does."""
        rate = self.rate
        for parameter in self.parameters:
            parameter.data *= 1.0 - rate * self.weight_decay
        self._move(rate, 0.0)


def clip_grad_norm(parameters: Iterable[Value], max_norm: float) -> float:
    """Scale all gradients by one factor so that their Euclidean norm is at most `max_norm`; return the norm before.

    >>> x, y = Value(0.0), Value(0.0)
    >>> (3.0 * x + 4.0 * y).backward()
    >>> clip_grad_norm([x, y], max_norm=1.0)
    5.0
    >>> x.grad, y.grad
    (0.6, 0.8)
    """
    above_0(max_norm=max_norm)
    clipped = _distinct_leaves(parameters)
    gradients = [parameter.grad for parameter in clipped]
    norm = _norm(gradients)
    if not math.isfinite(norm):
        if all(map(math.isfinite, gradients)):
            raise FloatingPointError("the norm of the gradients overflows, though each of them is finite")
        raise FloatingPointError("a gradient is nan or infinite, so no factor brings their norm down")
    if norm > max_norm:
        for parameter in clipped:
            parameter.grad = parameter.grad / norm * max_norm
    return norm


def clip_grad_value(parameters: Iterable[Value], limit: float) -> None:
    """Clip every gradient to -limit ... limit; this turns the direction, unlike `clip_grad_norm`.

    >>> x, y = Value(0.0), Value(0.0)
    >>> (0.5 * x - 4.0 * y).backward()
    >>> clip_grad_value([x, y], limit=1.0)
    >>> x.grad, y.grad
    (0.5, -1.0)
    """
    above_0(limit=limit)
    for parameter in _distinct_leaves(parameters):
        parameter.grad = min(max(parameter.grad, -limit), limit)


def _norm(gradients: list[float]) -> float:
    """Return the Euclidean norm, nan if any gradient is not finite; scaled, so that no square overflows."""
    largest = max(map(abs, gradients))
    if not largest:
        return 0.0
    return largest * math.sqrt(math.fsum((gradient / largest) ** 2 for gradient in gradients))


def _distinct_leaves(parameters: Iterable[Value]) -> list[Value]:
    """List the parameters, each once; anything that training could not move is an error."""
    if not isinstance(parameters, Iterable):
        raise TypeError(f"an optimiser takes a list of parameters, not {parameters!r}: write model.parameters()")
    distinct = {id(parameter): parameter for parameter in parameters}
    for parameter in distinct.values():
        if getattr(parameter, "primitive", "") is not None:
            raise TypeError(f"a parameter must be a Value that nothing computed, not {parameter!r}")
    if not distinct:
        raise ValueError("there are no parameters to train: does the model keep its Values as attributes?")
    return list(distinct.values())
