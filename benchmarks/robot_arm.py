"""Table 3: position of a six-joint robot arm's tip, and its Jacobian, as inverse kinematics needs them."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import autodiff
from benchmarks import engines
from benchmarks.harness import Contestant, Job, Settings, main, measure, table


class Joint(NamedTuple):
    """A row of a Denavit-Hartenberg table: lengths in metres, the twist alpha in quarter turns."""

    a: float
    d: float
    quarter_turns: int


# Universal Robots' published parameters of the UR5 (standard Denavit-Hartenberg convention).
UR5 = (
    Joint(0.0, 0.089159, 1),
    Joint(-0.425, 0.0, 0),
    Joint(-0.39225, 0.0, 0),
    Joint(0.0, 0.10915, 1),
    Joint(0.0, 0.09465, -1),
    Joint(0.0, 0.0823, 0),
)
TARGET = (0.3, -0.2, 0.4)
ANGLES = [0.3, -1.1, 1.4, -0.7, 0.9, 0.5]  # radians
Result = tuple[list[float], list[list[float]]]


def residual(angles: Sequence[Any], functions: Any = autodiff) -> list[Any]:
    """Compute the tip's position minus the target, from the tip to the base, with the functions of any library.

    Each joint maps a point by Rot_z(angle) Trans_z(d) Trans_x(a) Rot_x(alpha). Lengths of zero and quarter turns
    are known when the arm is built, so they cost nothing.
    """
    x, y, z = 0.0, 0.0, 0.0
    for angle, joint in zip(reversed(angles), reversed(UR5), strict=True):
        if joint.quarter_turns:
            y, z = (-z, y) if joint.quarter_turns > 0 else (z, -y)
        x = x + joint.a if joint.a else x
        z = z + joint.d if joint.d else z
        c, s = functions.cos(angle), functions.sin(angle)
        x, y = c * x - s * y, s * x + c * y
    return [x - TARGET[0], y - TARGET[1], z - TARGET[2]]


def residual_and_jacobian(angles: Sequence[Any]) -> tuple[Any, Any]:
    """Compute both with this engine."""
    return residual(angles), autodiff.jacobian(residual)(angles)


# ---- by hand


def by_hand(angles: Sequence[float]) -> Result:
    """Compute both in straight lines.

    Turning joint i moves the tip, seen from that joint, along (-y, x, 0); the joints before it turn that direction
    as they turn everything. The tip lies on the axis of joint 6, which therefore moves nothing.
    """
    q1, q2, q3, q4, q5, _ = angles
    c1, c2, c3, c4, c5 = math.cos(q1), math.cos(q2), math.cos(q3), math.cos(q4), math.cos(q5)
    s1, s2, s3, s4, s5 = math.sin(q1), math.sin(q2), math.sin(q3), math.sin(q4), math.sin(q5)
    # positions of the tip as seen from joint i, after its turn
    x5 = -s5 * 0.0823
    y5 = c5 * 0.0823
    z5 = 0.09465
    x4 = c4 * x5 + s4 * z5
    y4 = s4 * x5 - c4 * z5
    z4 = y5 + 0.10915
    u3 = x4 - 0.39225
    x3 = c3 * u3 - s3 * y4
    y3 = s3 * u3 + c3 * y4
    u2 = x3 - 0.425
    x2 = c2 * u2 - s2 * y3
    y2 = s2 * u2 + c2 * y3
    x1 = c1 * x2 + s1 * z4
    y1 = s1 * x2 - c1 * z4
    z1 = y2 + 0.089159
    # directions: joint 5 by way of 4, 3, 2, 1; then joint 4; then joint 3, of which only x and y are not 0
    x54, y54, z54 = c4 * -y5, s4 * -y5, x5
    x53, y53 = c3 * x54 - s3 * y54, s3 * x54 + c3 * y54
    x52, y52 = c2 * x53 - s2 * y53, s2 * x53 + c2 * y53
    x43, y43 = -c3 * y4 - s3 * x4, c3 * x4 - s3 * y4
    x42, y42 = c2 * x43 - s2 * y43, s2 * x43 + c2 * y43
    x32, y32 = -c2 * y3 - s2 * x3, c2 * x3 - s2 * y3
    return [x1 - 0.3, y1 + 0.2, z1 - 0.4], [
        [-y1, c1 * -y2, c1 * x32, c1 * x42, c1 * x52 + s1 * z54, 0.0],
        [x1, s1 * -y2, s1 * x32, s1 * x42, s1 * x52 - c1 * z54, 0.0],
        [0.0, x2, y32, y42, y52, 0.0],
    ]


# ---- other engines


def with_torch() -> Job:
    """Build PyTorch's graph and sweep it once for each coordinate."""
    torch = engines.torch()

    def run() -> Result:
        angles = torch.tensor(ANGLES, requires_grad=True)
        outputs = residual(angles.unbind(), torch)
        rows = [torch.autograd.grad(output, angles, retain_graph=True)[0] for output in outputs]
        return [output.item() for output in outputs], torch.stack(rows).tolist()

    return Job(run)


def jax_pair(angles: Any) -> Any:
    """Compute both in JAX."""
    jax = engines.jax()

    def stacked(angles: Any) -> Any:
        return jax.numpy.stack(residual([angles[i] for i in range(6)], jax.numpy))

    return stacked(angles), jax.jacrev(stacked)(angles)


def with_autograd() -> Job:
    """Differentiate NumPy code, once for each coordinate."""
    import autograd
    from autograd import numpy

    def stacked(angles: Any) -> Any:
        return numpy.array(residual([angles[i] for i in range(6)], numpy))

    jacobian = autograd.jacobian(stacked)

    def run() -> Result:
        angles = numpy.array(ANGLES)
        return stacked(angles).tolist(), jacobian(angles).tolist()

    return Job(run)


def casadi_pair() -> Any:
    """Make the CasADi function; its matrices run down the columns, so the transposed Jacobian is asked for."""
    import casadi

    angles = casadi.SX.sym("angles", 6)
    outputs = casadi.vertcat(*residual(casadi.vertsplit(angles), casadi))
    rows = casadi.vec(casadi.densify(casadi.jacobian(outputs, angles)).T)
    return casadi.Function("arm", [angles], [outputs, rows], {"cse": True})


def with_xad() -> Job:
    """Record XAD's tape and play it once for each coordinate."""
    import xad.math
    from xad.adj_1st import Real, Tape

    def run() -> Result:
        with Tape() as tape:
            angles = [Real(angle) for angle in ANGLES]
            tape.registerInputs(angles)
            tape.newRecording()
            outputs = residual(angles, xad.math)
            rows = []
            for output in outputs:
                tape.registerOutput(output)
            for output in outputs:
                tape.clearDerivatives()
                output.derivative = 1.0
                tape.computeAdjoints()
                rows.append([angle.derivative for angle in angles])
            return [output.value for output in outputs], rows

    return Job(run)


# ---- the table


def contestants() -> list[Contestant]:
    """Enter everyone who has sine and cosine: micrograd has not."""
    return [
        *engines.ours(residual_and_jacobian, ANGLES),
        Contestant("Python by hand", lambda: Job(partial(by_hand, ANGLES))),
        *engines.with_casadi(casadi_pair, ANGLES),
        Contestant("XAD", with_xad),
        Contestant("PyTorch", with_torch),
        *engines.with_jax(jax_pair, ANGLES),
        Contestant("autograd", with_autograd),
    ]


def tables(settings: Settings) -> Iterator[str]:
    """Measure."""
    yield table([measure("position and Jacobian", contestants(), settings)])


TEXT = """
Inverse kinematics of a UR5 (published Denavit-Hartenberg parameters): the tip's position minus a target, three
outputs, with its Jacobian by the six joint angles. A list of six floats in, a list of three and a 3 by 6 list out.
"""

if __name__ == "__main__":
    main("3. Robot arm, residual and Jacobian", TEXT, tables)
