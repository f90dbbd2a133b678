"""Backpropagation: a topological order of the graph, and the sweeps that carry derivatives along it.

With v1 ... vN in topological order (parents before children), the error signal of a node is the sum, over
its children, of the child's error signal times the child's local derivative: the multivariate chain rule.

An edge whose error signal or local derivative is exactly 0 passes nothing on, even next to an infinity.
"""

from collections.abc import Container, Iterable
from math import isfinite
from typing import Any

from autodiff.primitives import chain, shortened

__all__ = ["toposort"]

Node = Any  # a Value; this module comes before it


def toposort(*roots: Node, stop: Iterable[Node] = ()) -> list[Node]:
    """List all nodes that the roots were computed from, parents before children, without recursion.

    Nodes in `stop` are listed, what they were computed from is not. Leaves come first.

    >>> from autodiff import Value
    >>> x = Value(2.0, "x")
    >>> y = x * x
    >>> [node.data for node in toposort(y + x)]
    [2.0, 4.0, 6.0]
    """
    for root in roots:
        if not hasattr(root, "_primitive"):
            raise TypeError(f"toposort() takes Values, one after the other, not {shortened(root)}")
    leaves, interior = arrange(*roots, stop=stop)
    return [*dict.fromkeys(leaves), *interior]


def arrange(
    *roots: Node, stop: Iterable[Node] = (), within: Container[Node] | None = None
) -> tuple[list[Node], list[Node]]:
    """List the leaves (and what is in `stop` or not `within`), and apart from them all others, parents before children.

    A leaf that several kernels share is listed for each of them: to tell whether it was met before costs more.

    >>> from autodiff import Value
    >>> y = Value(2.0) * 3.0
    >>> [[node.data for node in nodes] for nodes in arrange(y)]
    [[2.0], [6.0]]
    """
    leaves: list[Node] = []
    interior: list[Node] = []
    known = set(stop) if within is None else within
    ends = within is None  # whether nodes that are known, or that are not, are where to stop
    seen: set[Node] = set()
    layers: set[int] = set()  # tuples of inputs that several nodes share: the first has seen to them for all
    stack: list[Node] = list(reversed(roots))
    while stack:
        node = stack.pop()
        if node is None:  # all parents of the node below are listed
            interior.append(stack.pop())
            continue
        if node in seen:
            continue
        seen.add(node)
        if node._primitive is None or (node in known) is ends:
            leaves.append(node)
            continue
        stack += (node, None)
        left, right = node._left, node._right
        if type(left) is tuple:
            own = node._y
            if any([arg._primitive for arg in own]):  # noqa: C419  (a generator would take twice as long)
                if right:  # back to the order of the arguments: floats are added up in it
                    own, right = [arg for arg in left if type(arg) is not float], ()
                stack += [arg for arg in own if arg._primitive is not None and arg not in seen]
                own = [arg for arg in own if arg._primitive is None]
            leaves += own  # they have no parents to wait for
            if right and id(right) not in layers:
                layers.add(id(right))
                stack += [arg for arg in right if arg not in seen]
            continue
        if type(left) is not float and left not in seen:
            stack.append(left)
        if type(right) is not float and right not in seen:
            stack.append(right)
    return leaves, interior


def sweep(order: list[Node]) -> None:
    """Carry error signals, held in `.grad`, from the last node of a topological order to all others, in floats.

    The order may leave the leaves out. The caller has set `.grad` of the last node to the seed, and of all others,
    leaves included, to 0.
    """
    for node in reversed(order):
        signal, primitive = node.grad, node._primitive
        if not signal or primitive is None:
            continue
        rules = primitive.float_rules
        # The two common shapes are written out: a loop over one or two arguments costs more than its body.
        if len(rules) == 2:
            rule_x, rule_y = rules
            arg = node._left
            if type(arg) is not float:
                local = rule_x if type(rule_x) is float else rule_x(node._data, node._x, node._y)
                if local:
                    arg.grad += signal * local
            arg = node._right
            if type(arg) is not float:
                local = rule_y if type(rule_y) is float else rule_y(node._data, node._x, node._y)
                if local:
                    arg.grad += signal * local
        elif len(rules) == 1:
            local = rules[0] if type(rules[0]) is float else rules[0](node._data, node._x)
            if local:
                node._left.grad += signal * local
        elif rules:  # three arguments or more
            for arg, rule in zip(node._left, rules, strict=True):
                if type(arg) is not float:
                    local = rule if type(rule) is float else rule(node._data, *node._x)
                    if local:
                        arg.grad += signal * local
        elif type(node._left) is tuple:  # a kernel: one function gives all its local derivatives
            args = node._left
            pairs = zip(args, primitive.float_locals(node._data, node._x))  # noqa: B905  (it sees to the lengths)
            if len(node._y) + len(node._right) == len(args) and isfinite(signal):  # adding 0 * signal changes nothing
                for arg, local in pairs:
                    arg.grad += signal * local
            else:
                for arg, local in pairs:
                    if local and type(arg) is not float:
                        arg.grad += signal * local


def product(signal: Any, local: Any) -> Any:
    """Multiply an error signal by a local derivative, each a float or a Value; None stands for no dependence."""
    if (type(signal) is float and not signal) or (type(local) is float and not local):
        return None
    for one, other in ((signal, local), (local, signal)):
        if type(one) is float:
            if one == 1.0:
                return other
            if one == -1.0:
                return -other
    return chain(signal, local)


def _active(order: list[Node], inputs: Iterable[Node]) -> set[Node]:
    """Find the nodes of a topological order that depend on the inputs."""
    active = set(inputs)
    for node in order:
        if node not in active and any(type(arg) is not float and arg in active for arg in node._args):
            active.add(node)
    return active


def _edges(node: Node, active: set[Node]) -> Iterable[tuple[Node, Any]]:
    """Pair each active argument of a node with its local derivative, as a graph."""
    args = node._args
    wanted = []
    for i, (arg, data) in enumerate(zip(args, node._inputs, strict=True)):
        if type(arg) is not float:
            if arg._data is not data and arg._data != data:
                raise _changed(node, arg)
            if arg in active:
                wanted.append(i)
    return zip([args[i] for i in wanted], node._primitive.locals(node, args, wanted), strict=True)


def pull(order: list[Node], seeds: dict[Node, Any], inputs: list[Node]) -> dict[Node, Any]:
    """Carry error signals from the seeds back to the inputs as a graph that can be differentiated again."""
    active = _active(order, inputs)
    ends = set(inputs)
    signals = dict(seeds)
    for node in reversed(order):
        if node in ends or node not in active or node not in signals:
            continue
        signal = signals.pop(node)
        for arg, local in _edges(node, active):
            contribution = product(signal, local)
            if contribution is not None:
                signals[arg] = signals[arg] + contribution if arg in signals else contribution
    return signals


def push(order: list[Node], tangents: dict[Node, Any]) -> dict[Node, Any]:
    """Carry tangents from the inputs forward to every node, as a graph that can be differentiated again."""
    active = _active(order, tangents)
    result = dict(tangents)
    for node in order:
        if node in tangents or node not in active:
            continue
        for arg, local in _edges(node, active):
            contribution = product(result[arg], local) if arg in result else None
            if contribution is not None:
                result[node] = result[node] + contribution if node in result else contribution
    return result


def _changed(node: Node, leaf: Node) -> ValueError:
    name = f" {leaf.label!r}" if leaf.label else ""
    return ValueError(f"data of leaf{name} was changed after {node._primitive.name} used it; evaluate again")
