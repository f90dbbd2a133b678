"""Table 4: log-likelihood of a Gaussian mixture, and its gradient by all parameters."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

import autodiff
from benchmarks import engines
from benchmarks.harness import Contestant, Job, Settings, main, measure, table

COMPONENTS = 3
POINTS = 50
PARAMETERS = [0.2, -0.1, 0.4, -1.5, 0.3, 2.0, -0.2, 0.1, -0.4]  # logits of the weights, means, log of the widths
CONSTANT = 0.5 * math.log(2.0 * math.pi)
Result = tuple[float, list[float]]


def sample(rng: Random) -> list[float]:
    """Draw points from a mixture of three Gaussians."""
    centres = [-2.0, 0.5, 2.5]
    return [rng.gauss(rng.choice(centres), 0.7) for _ in range(POINTS)]


DATA = tuple(sample(Random(0)))


# ---- ours


def log_density(x: Any, parameters: Sequence[Any]) -> Any:
    """Compute the log of the mixture's density at one point."""
    logits, means, log_widths = parameters[:3], parameters[3:6], parameters[6:]
    log_weights = autodiff.log_softmax(logits)
    terms = zip(log_weights, means, log_widths, strict=True)
    return autodiff.logsumexp([component(x, *term) for term in terms])


def component(x: Any, log_weight: Any, mean: Any, log_width: Any) -> Any:
    """Compute the log of one component's share, without the constant factor."""
    z = (x - mean) * autodiff.exp(-log_width)
    return log_weight - log_width - 0.5 * (z * z)


def log_likelihood(parameters: Sequence[Any]) -> Any:
    """Sum over all points."""
    return autodiff.sum([log_density(x, parameters) for x in DATA]) - POINTS * CONSTANT


def with_loop() -> Job:
    """Compile one point, with the loop over the points inside the compiled code."""
    parameters = [autodiff.Value(p) for p in PARAMETERS]
    fast = autodiff.compile(autodiff.batch_sum(lambda x: log_density(x, parameters)))
    points = list(DATA)

    def run() -> Result:
        for parameter, number in zip(parameters, PARAMETERS, strict=True):
            parameter.data = number
            parameter.grad = 0.0
        value = fast.backward(points)
        return value - POINTS * CONSTANT, [parameter.grad for parameter in parameters]

    return Job(run)


# ---- by hand


def by_hand(parameters: Sequence[float]) -> Result:
    """Add up responsibilities in a loop over the points: the derivatives are moments weighted by them."""
    a1, a2, a3, m1, m2, m3, l1, l2, l3 = parameters
    exp, log = math.exp, math.log
    top = max(a1, a2, a3)
    e1, e2, e3 = exp(a1 - top), exp(a2 - top), exp(a3 - top)
    normaliser = top + log(e1 + e2 + e3)
    b1, b2, b3 = a1 - normaliser - l1, a2 - normaliser - l2, a3 - normaliser - l3
    v1, v2, v3 = exp(-l1), exp(-l2), exp(-l3)
    total = n1 = n2 = n3 = s1 = s2 = s3 = q1 = q2 = q3 = 0.0
    for x in DATA:
        z1, z2, z3 = (x - m1) * v1, (x - m2) * v2, (x - m3) * v3
        y1, y2, y3 = z1 * z1, z2 * z2, z3 * z3
        t1, t2, t3 = b1 - 0.5 * y1, b2 - 0.5 * y2, b3 - 0.5 * y3
        top = t1 if t1 > t2 else t2
        if t3 > top:
            top = t3
        r1, r2, r3 = exp(t1 - top), exp(t2 - top), exp(t3 - top)
        r = r1 + r2 + r3
        total += top + log(r)
        r1, r2, r3 = r1 / r, r2 / r, r3 / r
        n1, n2, n3 = n1 + r1, n2 + r2, n3 + r3
        s1, s2, s3 = s1 + r1 * z1, s2 + r2 * z2, s3 + r3 * z3
        q1, q2, q3 = q1 + r1 * y1, q2 + r2 * y2, q3 + r3 * y3
    w = POINTS / (e1 + e2 + e3)
    by_logits = [n1 - w * e1, n2 - w * e2, n3 - w * e3]
    by_means = [s1 * v1, s2 * v2, s3 * v3]
    return total - POINTS * CONSTANT, [*by_logits, *by_means, q1 - n1, q2 - n2, q3 - n3]


def with_numpy() -> Job:
    """Do the same on whole arrays."""
    import numpy as np

    data = np.array(DATA)

    def run() -> Result:
        logits, means, log_widths = np.array(PARAMETERS).reshape(3, COMPONENTS)
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        inverse = np.exp(-log_widths)
        z = (data[:, None] - means) * inverse
        y = z * z
        terms = np.log(shares) - log_widths - 0.5 * y
        top = terms.max(axis=1, keepdims=True)
        r = np.exp(terms - top)
        sums = r.sum(axis=1, keepdims=True)
        r /= sums
        counts = r.sum(axis=0)
        value = float(top.sum() + np.log(sums).sum()) - POINTS * CONSTANT
        parts = [counts - POINTS * shares, (r * z).sum(axis=0) * inverse, (r * y).sum(axis=0) - counts]
        return value, np.concatenate(parts).tolist()

    return Job(run)


# ---- other engines


def with_torch() -> Job:
    """Build and sweep PyTorch's graph."""
    torch = engines.torch()
    data = torch.tensor(DATA)[:, None]

    def run() -> Result:
        parameters = torch.tensor(PARAMETERS, requires_grad=True)
        logits, means, log_widths = parameters.view(3, COMPONENTS)
        z = (data - means) * torch.exp(-log_widths)
        terms = torch.log_softmax(logits, 0) - log_widths - 0.5 * (z * z)
        output = torch.logsumexp(terms, 1).sum() - POINTS * CONSTANT
        output.backward()
        return output.item(), parameters.grad.tolist()

    return Job(run)


def jax_pair(parameters: Any) -> Any:
    """Compute value and gradient in JAX."""
    jax = engines.jax()

    def value(parameters: Any) -> Any:
        logits, means, log_widths = parameters.reshape(3, COMPONENTS)
        z = (jax.numpy.array(DATA)[:, None] - means) * jax.numpy.exp(-log_widths)
        terms = jax.nn.log_softmax(logits) - log_widths - 0.5 * (z * z)
        return jax.scipy.special.logsumexp(terms, axis=1).sum() - POINTS * CONSTANT

    return jax.value_and_grad(value)(parameters)


def with_autograd() -> Job:
    """Differentiate NumPy code."""
    import autograd
    from autograd import numpy
    from autograd.scipy.special import logsumexp

    data = numpy.array(DATA)[:, None]

    def value(parameters: Any) -> Any:
        logits, means, log_widths = parameters[:3], parameters[3:6], parameters[6:]
        z = (data - means) * numpy.exp(-log_widths)
        terms = logits - logsumexp(logits) - log_widths - 0.5 * (z * z)
        return numpy.sum(logsumexp(terms, axis=1)) - POINTS * CONSTANT

    pair = autograd.value_and_grad(value)

    def run() -> Result:
        found, gradient = pair(numpy.array(PARAMETERS))
        return float(found), gradient.tolist()

    return Job(run)


def plain(parameters: Sequence[Any], functions: Any) -> Any:
    """Compute it for the scalar engines: without the shift by the largest term, which this sample does not need."""
    exp, log = functions.exp, functions.log
    logits, means, log_widths = parameters[:3], parameters[3:6], parameters[6:]
    normaliser = log(exp(logits[0]) + exp(logits[1]) + exp(logits[2]))
    offsets = [logit - normaliser - log_width for logit, log_width in zip(logits, log_widths, strict=True)]
    inverse = [exp(-log_width) for log_width in log_widths]
    total = -POINTS * CONSTANT
    for x in DATA:
        z = [(x - mean) * scale for mean, scale in zip(means, inverse, strict=True)]
        terms = [exp(offset - 0.5 * (t * t)) for offset, t in zip(offsets, z, strict=True)]
        total = total + log(terms[0] + terms[1] + terms[2])
    return total


# ---- the table


def contestants() -> list[Contestant]:
    """Enter everyone who has exponential and logarithm: micrograd has not."""
    return [
        *engines.ours(autodiff.value_and_grad(log_likelihood), PARAMETERS),
        Contestant("chainrule, compiled batch_sum", with_loop),
        Contestant("Python by hand, loop", lambda: Job(partial(by_hand, PARAMETERS))),
        Contestant("NumPy by hand", with_numpy),
        *engines.with_casadi(partial(engines.casadi_gradient, plain, len(PARAMETERS)), PARAMETERS),
        Contestant("XAD", partial(engines.xad_gradient, plain, PARAMETERS)),
        Contestant("PyTorch", with_torch),
        *engines.with_jax(jax_pair, PARAMETERS),
        Contestant("autograd", with_autograd),
    ]


def tables(settings: Settings) -> Iterator[str]:
    """Measure."""
    yield table([measure("value and gradient", contestants(), settings)])
    yield engines.jax_again({"value and gradient": contestants()}, settings)


TEXT = """
Log-likelihood of 50 points under a mixture of three Gaussians, with its gradient by nine parameters (weights, means,
widths). A list of nine floats in, a float and a list out. "batch_sum" keeps the loop over the points inside the
compiled code instead of writing every point out. CasADi and XAD compute the plain logarithm of the sum, everybody else
the one that is safe from overflow.
"""

if __name__ == "__main__":
    main("4. Gaussian mixture, log-likelihood and gradient", TEXT, tables)
