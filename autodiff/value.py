"""`Value`: a float that remembers how it was computed."""

import itertools
import math
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import isfinite
from numbers import Real
from typing import Any, NamedTuple, Protocol

from autodiff import primitives as p
from autodiff.backprop import arrange, sweep, toposort
from autodiff.kernels import affine
from autodiff.primitives import Primitive, constant, is_truth
from autodiff.special import weighted_sum

__all__ = ["Value", "affine_layer", "anomaly_detection", "descend", "no_grad"]


class Mode(NamedTuple):
    """What happens to each new node, where it is more than to be built."""

    recording: bool = True
    anomaly: bool = False
    logs: "tuple[dict[Value, bool], ...]" = ()  # new nodes, in order, and whether a transform made them
    deriving: bool = False  # a transform is at work, rather than the user's function
    tracer: "Tracer | None" = None


class Tracer(Protocol):
    """What listens where a number leaves the graph, so that a branch may depend on it."""

    def note(self, kind: str, operands: tuple[Any, ...], outcome: Any) -> None:
        """Take note that a question about the operands had this outcome."""

    def differentiate(self, order: "list[Value]") -> None:
        """Take note that a graph is being differentiated."""


_mode: ContextVar[Mode | None] = ContextVar("_mode", default=None)
_get_mode = _mode.get
_new = object.__new__
_serial = itertools.count(1)  # numbers the leaves: a transform can tell those that its function made itself
_accumulating = threading.RLock()  # one sweep over shared nodes at a time


WRONG_ORDER = "no_grad() and anomaly_detection() must be left in the reverse order of entering them"


@contextmanager
def _mode_with(*, log: "dict[Value, bool] | None" = None, **changes: Any) -> Iterator[None]:
    before = _get_mode()
    mode = before or Mode()
    if log is not None:
        changes["logs"] = (*mode.logs, log)
    changed = mode._replace(**changes)
    try:
        _mode.set(changed)
        yield
    except BaseException as error:
        if isinstance(error, GeneratorExit) and _get_mode() is not changed:
            raise RuntimeError(WRONG_ORDER) from error
        _mode.set(before)  # whatever it is now: an interrupt may have come while an inner one was being left
        raise
    if _mode.set(before).old_value is not changed:  # two generators, say, that ended in the wrong order
        raise RuntimeError(WRONG_ORDER)


def _note(kind: str, operands: tuple[Any, ...], outcome: Any) -> None:
    """Tell the tracer, if one is at work, that a number left the graph."""
    mode = _get_mode()
    if mode is not None and mode.tracer is not None:
        mode.tracer.note(kind, operands, outcome)


def _is_traced() -> bool:
    """Say whether a compiler is watching, so that numbers must stay in the graph."""
    mode = _get_mode()
    return mode is not None and mode.tracer is not None


def _refuse_while_tracing(what: str, advice: str) -> None:
    if _is_traced():
        raise RuntimeError(f"{what} inside a compiled function would happen at its first call only: {advice}")


@contextmanager
def no_grad() -> Iterator[None]:
    """Compute without recording: results are leaves.

    >>> w = Value(2.0)
    >>> with no_grad():
    ...     y = w * 3.0
    >>> y.data, y.parents
    (6.0, ())
    """
    with _mode_with(recording=False):
        yield


@contextmanager
def anomaly_detection() -> Iterator[None]:
    """Raise FloatingPointError at the first operation whose value or local derivative is nan or infinite.

    >>> with anomaly_detection():
    ...     Value(0.0, "x").sqrt()
    Traceback (most recent call last):
    ...
    FloatingPointError: sqrt(x = 0.0) = 0.0 has the local derivative inf with respect to x
    """
    with _mode_with(anomaly=True):
        yield


def _observe(node: "Value", mode: Mode) -> "Value":
    """Do what the mode asks of a new node."""
    if mode.anomaly and node._primitive is not None:
        _check_finite(node)
    for log in mode.logs:
        log[node] = mode.deriving
    if mode.recording or node._primitive in (None, p.detached):
        return node
    if mode.tracer is not None:  # the number must stay in the graph, the derivative must not
        result: Value = p.detached(node)
        return result
    node._primitive = None
    node._left = node._right = 0.0
    node._x = next(_serial)
    return node


def _check_finite(node: "Value") -> None:
    assert node._primitive is not None
    name = node._primitive.name
    shown = [
        f"{arg.label} = {x!r}" if _label(arg) else repr(x) for arg, x in zip(node._args, node._inputs, strict=True)
    ]
    what = f"{name}({', '.join(shown)}) = {node._data!r}"
    if not isfinite(node._data):
        raise FloatingPointError(what)
    wanted = [i for i, arg in enumerate(node._args) if type(arg) is not float]
    for i, local in zip(wanted, node._primitive.locals(node._data, node._inputs, wanted), strict=True):
        if not isfinite(local):
            which = _label(node._args[i]) or f"argument {i + 1}"
            raise FloatingPointError(f"{what} has the local derivative {local!r} with respect to {which}")


def _label(arg: Any) -> str:
    return getattr(arg, "label", "")


def _node(
    primitive: Primitive, data: float, args: tuple[Any, ...], inputs: tuple[float, ...], all_values: bool = False
) -> "Value":
    """Build an interior node."""
    node = _restore(data, 0.0, "", primitive, args, inputs, all_values)
    mode = _get_mode()
    return node if mode is None else _observe(node, mode)


def _restore(
    data: float, grad: float, label: str, primitive: Any, args: Any, inputs: Any, all_values: bool = False
) -> "Value":
    """Build a node from its parts; `all_values` saves looking for floats among many arguments."""
    node = _new(Value)
    node._data, node.grad, node.label, node._primitive = data, grad, label, primitive
    node._left = node._right = node._x = node._y = 0.0
    if len(args) > 2 or (primitive is not None and primitive.arity is None):
        node._left, node._x, node._right = args, inputs, ()
        node._y = args if all_values else tuple([arg for arg in args if type(arg) is not float])
    elif args:
        node._left, node._x = args[0], inputs[0]
        if len(args) == 2:
            node._right, node._y = args[1], inputs[1]
    return node


def _failed(
    primitive: Primitive, error: Exception, inputs: tuple[float, ...], args: tuple[Any, ...], value: "Value"
) -> Exception:
    """Tell the tracer that an operation raised, for the function may catch it; give the error to raise."""
    _note("raised", (value,), primitive.name)
    return primitive.explain(error, inputs, args)


def _operands(primitive: Primitive) -> tuple[Callable[["Value", Any], "Value"], Callable[["Value", Any], "Value"]]:
    """Make an operator and its reflected form."""
    value = primitive.value

    # Both build their node as _restore does, written out: here a call would cost as much as all the rest.
    def forward(self: "Value", other: Any, modulus: None = None) -> "Value":
        if modulus is not None:  # only pow(v, y, z) gives one
            raise TypeError("pow() of a Value takes no modulus: write (x ** y) % z")
        if type(other) is Value:
            y = other._data
        elif type(other) is float:
            y = other
        elif type(other) is int or isinstance(other, Real):
            y = other = float(other)
        elif isinstance(other, Value):
            y = other._data
        else:
            return NotImplemented  # type: ignore[no-any-return]
        x = self._data
        try:
            data = value(x, y)
        except (ArithmeticError, ValueError) as error:
            raise _failed(primitive, error, (x, y), (self, other), self) from error
        node = _new(Value)
        node._data, node.grad, node.label, node._primitive = data, 0.0, "", primitive
        node._left, node._right, node._x, node._y = self, other, x, y
        mode = _get_mode()
        return node if mode is None else _observe(node, mode)

    def reflected(self: "Value", other: Any) -> "Value":
        if type(other) is float:
            x = other
        elif type(other) is int or isinstance(other, Real):
            x = float(other)
        else:
            return NotImplemented  # type: ignore[no-any-return]
        y = self._data
        try:
            data = value(x, y)
        except (ArithmeticError, ValueError) as error:
            raise _failed(primitive, error, (x, y), (x, self), self) from error
        node = _new(Value)
        node._data, node.grad, node.label, node._primitive = data, 0.0, "", primitive
        node._left, node._right, node._x, node._y = x, self, x, y
        mode = _get_mode()
        return node if mode is None else _observe(node, mode)

    return forward, reflected


def _method(primitive: Primitive) -> Callable[..., "Value"]:
    """Make a method of a primitive of one or more arguments."""

    def unary(self: "Value") -> "Value":
        return self.apply_primitive(primitive, (self,))

    def general(self: "Value", *args: Any, **named: Any) -> "Value":
        result: Value = primitive(self, *args, **named)
        return result

    method: Callable[..., Value] = unary if primitive.arity == 1 else general
    method.__name__, method.__qualname__ = primitive.name, f"Value.{primitive.name}"
    method.__doc__ = primitive.__doc__
    return method


def _comparison(compare: str) -> Callable[["Value", Any], bool]:
    """Make a comparison by value."""
    operation = getattr(float, compare)

    def method(self: "Value", other: Any) -> bool:
        if isinstance(other, Value):
            number = other._data
        elif isinstance(other, int | float):
            number = other
        elif isinstance(other, Real):
            number = other = float(other)
        else:
            return NotImplemented  # type: ignore[no-any-return]
        result: bool = operation(self._data, number)
        _note(compare, (self, other), result)
        return result

    return method


class Value:
    """A number that remembers the operation it came from, so that derivatives can be carried back through it.

    `data` is the number, `grad` the derivative that `backward()` leaves, `label` a name for pictures and errors.

    >>> a, b = Value(2.0, "a"), Value(-3.0, "b")
    >>> loss = (a * b + a**3).relu()
    >>> loss.backward()
    >>> loss.data, a.grad, b.grad
    (2.0, 9.0, 2.0)
    """

    __slots__ = ("__weakref__", "_data", "_left", "_primitive", "_right", "_x", "_y", "grad", "label")

    # A node keeps its arguments (Values, and floats for constants) and what they were worth, so that later changes
    # of a leaf do not reach it. One or two arguments have slots of their own: tuples would double what the garbage
    # collector has to visit. Where there are more, `_left` and `_x` hold the tuples (`_args` and `_inputs` hide this),
    # and the Values among the arguments are listed again: in `_right` those shared by a layer, in `_y` all others.
    # In a leaf, `_x` is its serial number.
    _data: float
    _primitive: Primitive | None
    _left: Any
    _right: Any
    _x: Any
    _y: Any
    grad: float
    label: str

    def __init__(self, data: float, label: str = "") -> None:
        self._data = data if type(data) is float else _checked(data)
        self.grad = 0.0
        self.label = label
        self._primitive = None
        self._left = self._right = self._y = 0.0
        self._x = next(_serial)
        mode = _get_mode()
        if mode is not None:
            _observe(self, mode)

    # ---- what a node knows

    @property
    def _args(self) -> tuple[Any, ...]:
        return self._pick(self._left, self._right)

    @property
    def _inputs(self) -> tuple[float, ...]:
        return self._pick(self._x, self._y)

    def _pick(self, first: Any, second: Any) -> tuple[Any, ...]:
        if type(first) is tuple:
            return first
        arity = self._primitive.arity if self._primitive else 0
        return (first, second)[:arity]

    @property
    def data(self) -> float:
        """The number. Only a leaf's can be set."""
        if _get_mode() is not None:
            _note("data", (self,), self._data)
        return self._data

    @data.setter
    def data(self, data: float) -> None:
        if _get_mode() is not None:
            _refuse_while_tracing("setting .data", "set it before or after the call")
        if self._primitive is not None:
            raise AttributeError(
                f"this Value was computed by {self._primitive.name}; set the data of the leaves it depends on and "
                "evaluate again"
            )
        self._data = data if type(data) is float else _checked(data)

    @property
    def primitive(self) -> Primitive | None:
        """The primitive that computed this node; None for a leaf."""
        return self._primitive

    @property
    def arguments(self) -> "tuple[Value | float, ...]":
        """The arguments of the primitive in order: Values, and floats for constants."""
        return self._args

    @property
    def parents(self) -> "tuple[Value, ...]":
        """The Values this node was computed from, in argument order, repeats included."""
        return tuple(arg for arg in self._args if type(arg) is not float)

    def local_derivatives(self) -> tuple[float, ...]:
        """Evaluate d self / d argument for each entry of `arguments`.

        >>> (Value(2.0) * Value(5.0)).local_derivatives()
        (5.0, 2.0)
        """
        _refuse_while_tracing("local_derivatives()", "ask for them outside, or use grad(f)")
        return self._primitive.locals(self._data, self._inputs) if self._primitive else ()

    # ---- the reverse sweep

    def backward(self, seed: float = 1.0) -> None:
        """Carry error signals from here to the leaves.

        Leaves add d self / d leaf times the seed to their `grad`; interior nodes' `grad` is set to the error
        signal of this call. Interrupted half way, the leaves keep the `grad` they had.

        >>> x = Value(3.0)
        >>> y = x * x
        >>> y.backward()
        >>> y.backward()
        >>> x.grad, y.grad
        (12.0, 1.0)
        """
        _refuse_while_tracing("backward()", "compile value_and_grad(f), or call fast.backward(*args)")
        seed = constant(seed, "the seed of backward()")
        leaves, interior = arrange(self)
        if p.argument in {node._primitive for node in interior}:
            raise RuntimeError(
                "backward() inside a function that grad() or another transform differentiates would lose what .grad "
                "depends on, for that is a plain number: use grad(f) in there too"
            )
        with _accumulating:
            before = [leaf.grad for leaf in leaves]
            try:
                for node in interior:
                    node.grad = 0.0
                grads = dict(zip(leaves, before, strict=True)) if any(before) else {}
                for leaf in grads:
                    leaf.grad = 0.0
                self.grad = seed
                sweep(interior)
                for leaf, grad in grads.items():
                    leaf.grad += grad
            except BaseException as error:
                for leaf, grad in zip(leaves, before, strict=True):
                    leaf.grad = grad
                if isinstance(error, TypeError) and None in before:
                    raise TypeError("a leaf's grad is None: to forget what it had, set it to 0.0") from error
                raise

    def detach(self) -> "Value":
        """Return a leaf with the same data and label.

        >>> (Value(2.0) * 3.0).detach().parents
        ()
        """
        if _is_traced():
            result: Value = p.detached(self)
            return result
        return Value(self._data, self.label)

    def apply_primitive(self, primitive: Primitive, args: tuple[Any, ...]) -> "Value":
        """Apply a primitive to arguments of which at least one is a Value, and record it."""
        if len(args) == 1 and primitive.arity == 1:  # the common case: the rest of this method, written out
            x = self._data
            try:
                data = primitive.value(x)
            except (ArithmeticError, ValueError) as error:
                raise _failed(primitive, error, (x,), args, self) from error
            except Exception:  # from a primitive that a user declared
                _note("raised", (self,), primitive.name)
                raise
            node = _new(Value)
            node._data, node.grad, node.label = data if type(data) is float else primitive.result(data), 0.0, ""
            node._primitive, node._left, node._x = primitive, self, x
            node._right = node._y = 0.0
            mode = _get_mode()
            return node if mode is None else _observe(node, mode)
        kinds = {*map(type, args)}
        all_values = kinds == {Value}
        if all_values:  # a penalty on all parameters, say
            inputs = tuple([arg._data for arg in args])
        else:
            if not kinds <= {Value, float}:
                args = tuple([x if isinstance(x, Value) else primitive.constant(i, x) for i, x in enumerate(args, 1)])
            inputs = tuple([arg if type(arg) is float else arg._data for arg in args])
        try:
            data = primitive.value(*inputs)
        except (ArithmeticError, ValueError) as error:
            raise _failed(primitive, error, inputs, args, self) from error
        except Exception:
            _note("raised", (self,), primitive.name)
            raise
        return _node(primitive, data if type(data) is float else primitive.result(data), args, inputs, all_values)

    # ---- operators

    __add__, __radd__ = _operands(p.add)
    __sub__, __rsub__ = _operands(p.sub)
    __mul__, __rmul__ = _operands(p.mul)
    __truediv__, __rtruediv__ = _operands(p.div)
    __floordiv__, __rfloordiv__ = _operands(p.floordiv)
    __mod__, __rmod__ = _operands(p.mod)
    __pow__, __rpow__ = _operands(p.power)
    __neg__ = _method(p.neg)
    __abs__ = _method(p.absolute)

    def __pos__(self) -> "Value":
        return self

    def __divmod__(self, other: Any) -> "tuple[Value, Value]":
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> "tuple[Value, Value]":
        return other // self, other % self

    # ---- comparisons by value, hash by identity (as in PyTorch)

    __lt__ = _comparison("__lt__")
    __le__ = _comparison("__le__")
    __gt__ = _comparison("__gt__")
    __ge__ = _comparison("__ge__")
    __eq__ = _comparison("__eq__")
    __ne__ = _comparison("__ne__")
    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        outcome: bool = self._leave("bool", bool)
        return outcome

    # ---- conversions: whole numbers carry no derivative, so they may leave the graph; floats may not

    def _leave(self, kind: str, conversion: Callable[..., Any], *more: Any) -> Any:
        """Let a number leave the graph."""
        try:
            outcome = conversion(self._data, *more)
        except (ArithmeticError, ValueError):  # an infinity or nan is no whole number
            _note("raised", (self,), kind)
            raise
        _note(kind, (self, *more), outcome)
        return outcome

    def __int__(self) -> int:
        outcome: int = self._leave("int", int)
        return outcome

    def __round__(self, ndigits: int | None = None) -> float:
        outcome: float = self._leave("round", round, ndigits)
        return outcome

    def __floor__(self) -> int:
        outcome: int = self._leave("floor", math.floor)
        return outcome

    def __ceil__(self) -> int:
        outcome: int = self._leave("ceil", math.ceil)
        return outcome

    def __trunc__(self) -> int:
        outcome: int = self._leave("trunc", math.trunc)
        return outcome

    def __index__(self) -> int:
        raise TypeError(
            "a Value is no whole number: for range(), an index or a repetition write int(v); to multiply every entry "
            "of a list write [v * x for x in xs]"
        )

    def __float__(self) -> float:
        raise TypeError(
            "a Value does not turn into a float by itself, for that would drop its graph in silence: use v.data for "
            "the number, autodiff's functions instead of math's, such as autodiff.exp(v) instead of math.exp(v), and "
            "for Values in an array dtype=object"
        )

    def __complex__(self) -> complex:
        raise TypeError("a Value is a real number: use complex(v.data) for a complex one without derivatives")

    def __format__(self, spec: str) -> str:
        return format(self.data, spec) if spec else str(self)

    def __repr__(self) -> str:
        label = f", label={self.label!r}" if self.label else ""
        return f"Value(data={self.data!r}, grad={self.grad!r}{label})"

    # ---- copies and pickles, of graphs of any depth

    def __copy__(self) -> "Value":
        if self._primitive is None:  # by way of `data`, for a compiler has to know that a number leaves the graph
            copied = Value(self.data, self.label)
            copied.grad = self.grad
            return copied
        return _restore(self._data, self.grad, self.label, self._primitive, self._args, self._inputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Value":
        for node in toposort(self):
            if node._primitive is None and id(node) not in memo:
                memo[id(node)] = node.__copy__()
            elif id(node) not in memo:
                args = tuple(arg if type(arg) is float else memo[id(arg)] for arg in node._args)
                memo[id(node)] = _restore(node._data, node.grad, node.label, node._primitive, args, node._inputs)
        copied: Value = memo[id(self)]
        return copied

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        state = (self.data, self.grad, self.label, self._primitive, self._args, self._inputs)
        pickling = _pickling.get()
        end = pickling and pickling()
        if self._primitive is None or (end and self in end.ancestors):
            return _restore, state
        ancestors = toposort(self)
        ancestors.pop()
        for node in [self, *ancestors]:
            if node._primitive is not None:
                node._primitive.__reduce__()  # what cannot be pickled must say so before anything is half done
        # pickle recurses into arguments. Listing the ancestors first, parents before children, makes each
        # find its arguments pickled already. The end of the list ends this arrangement; it is gone, too, if pickle
        # gives up before, because the disk is full, say.
        end = _EndOfAncestors(set(ancestors))
        _pickling.set(weakref.ref(end))
        return _restore_last, ([*ancestors, end], *state)

    # ---- functions as methods; NumPy calls those with its own names on arrays of Values

    abs = absolute = fabs = _method(p.absolute)
    acos = arccos = _method(p.acos)
    acosh = arccosh = _method(p.acosh)
    asin = arcsin = _method(p.asin)
    asinh = arcsinh = _method(p.asinh)
    atan = arctan = _method(p.atan)
    atan2 = arctan2 = _method(p.atan2)
    atanh = arctanh = _method(p.atanh)
    cbrt = _method(p.cbrt)
    clip = _method(p.clip)
    copysign = _method(p.copysign)
    cos = _method(p.cos)
    cosh = _method(p.cosh)
    degrees = rad2deg = _method(p.degrees)
    digamma = _method(p.digamma)
    elu = _method(p.elu)
    erf = _method(p.erf)
    erfc = _method(p.erfc)
    exp = _method(p.exp)
    exp2 = _method(p.exp2)
    expm1 = _method(p.expm1)
    ceil = _method(p.ceil)
    floor = _method(p.floor)
    rint = _method(p.rint)
    trunc = _method(p.trunc)
    fmod = _method(p.fmod)
    gamma = _method(p.gamma)
    gelu = _method(p.gelu)
    gelu_tanh = _method(p.gelu_tanh)
    hard_tanh = _method(p.hard_tanh)
    hypot = _method(p.hypot)
    leaky_relu = _method(p.leaky_relu)
    lgamma = _method(p.lgamma)
    log = _method(p.log)
    log10 = _method(p.log10)
    log1p = _method(p.log1p)
    log2 = _method(p.log2)
    logaddexp = _method(p.logaddexp)
    logit = _method(p.logit)
    logsigmoid = _method(p.logsigmoid)
    maximum = fmax = _method(p.maximum)
    minimum = fmin = _method(p.minimum)
    mish = _method(p.mish)
    radians = deg2rad = _method(p.radians)
    reciprocal = _method(p.reciprocal)
    relu = _method(p.relu)
    remainder = _method(p.remainder)
    rsqrt = _method(p.rsqrt)
    selu = _method(p.selu)
    sigmoid = _method(p.sigmoid)
    sign = _method(p.sign)
    silu = _method(p.silu)
    sin = _method(p.sin)
    sinh = _method(p.sinh)
    softplus = _method(p.softplus)
    softsign = _method(p.softsign)
    sqrt = _method(p.sqrt)
    square = _method(p.square)
    tan = _method(p.tan)
    tanh = _method(p.tanh)

    def sinc(self) -> "Value":
        """Return sin(pi x) / (pi x), 1 at 0."""
        result: Value = p.sinc_order(0.0, self)
        return result

    def conjugate(self) -> "Value":
        """Return the Value itself, for it is real. NumPy's `vdot` asks for it."""
        return self


def affine_layer(W: Iterable[Iterable[Any]], x: Iterable[Any], b: Iterable[Any]) -> list[Any]:
    """Give W x + b: for each row of weights and its bias, what `affine` gives, in less time.

    >>> affine_layer([[Value(1.0), Value(2.0)], [Value(0.0), Value(3.0)]], [3.0, 4.0], [0.5, Value(0.0)])
    [Value(data=11.5, grad=0.0), Value(data=12.0, grad=0.0)]
    """
    rows, x, b = [tuple(row) for row in W], tuple(x), tuple(b)
    if len(rows) != len(b):
        raise ValueError(f"affine_layer() needs a bias for each row of weights: {len(rows)} rows, {len(b)} biases")
    try:
        numbers = [arg if type(arg) is float else arg._data for arg in x]
        weights = [[arg._data for arg in row] for row in rows]
        offsets = [arg._data for arg in b]
    except AttributeError:  # floats among the parameters, say
        weights = []
    if not x or {*map(len, weights)} != {len(x)}:
        return [affine(row, x, bias) for row, bias in zip(rows, b, strict=True)]
    shared = tuple([arg for arg in x if type(arg) is not float])
    mode = _get_mode()
    nodes = []
    for row, bias, ws, offset in zip(rows, b, weights, offsets, strict=True):
        node = _new(Value)
        node._data = weighted_sum(ws, numbers, offset)  # as `affine`, which would have to take them apart again
        node.grad, node.label, node._primitive = 0.0, "", p.affine_map
        node._left, node._x = (*row, *x, bias), (*ws, *numbers, offset)
        node._right, node._y = shared, (*row, bias)
        nodes.append(node if mode is None else _observe(node, mode))
    return nodes


def descend(leaves: Iterable[Value], rate: float) -> None:
    """Set the data of each leaf to data - rate * grad: one step of gradient descent.

    >>> w = Value(3.0)
    >>> (w * w).backward()
    >>> descend([w], 0.5)
    >>> w.data
    0.0
    """
    _refuse_while_tracing("descend()", "call it after the compiled function")
    rate = constant(rate, "the rate", "a number")
    for leaf in leaves:
        if leaf._primitive is not None:
            leaf.data = leaf.data  # raises
        leaf._data -= rate * leaf.grad


def _checked(data: Any) -> float:
    """Convert the data of a leaf; what is not a real number is refused."""
    if isinstance(data, Value):
        raise TypeError("Value(v) of a Value would drop its graph: use v itself, or v.detach() for a leaf of its own")
    if is_truth(data):
        raise TypeError(f"data must be a number, not {data}: write Value(float(condition)) if that is meant")
    return constant(data, "data", "a number")


def _restore_last(ancestors: Any, *state: Any) -> Value:
    return _restore(*state)


class _EndOfAncestors:
    """Follows the ancestors of a node in its pickle, and knows which they are as long as they are being pickled."""

    def __init__(self, ancestors: set[Value]) -> None:
        self.ancestors = ancestors

    def __reduce__(self) -> tuple[Any, ...]:
        _pickling.set(None)
        return float, ()


_pickling: ContextVar[weakref.ref[_EndOfAncestors] | None] = ContextVar("_pickling", default=None)
