"""Whatever is done to it: sizes, interrupts, threads, objects of every type. Right, or an error; never half of each.

What holds between threads: graphs of their own never see each other, whatever leaves they share; sweeps over shared
nodes take turns, so that no leaf loses a contribution, while `grad` of a shared interior node is that of one of them.
"""

import array
import asyncio
import builtins
import collections
import copy
import ctypes
import datetime
import enum
import gc
import itertools
import math
import operator
import pathlib
import re
import signal
import struct
import sys
import threading
import tracemalloc
import types
import unittest.mock
import uuid
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import inf, isfinite, nan
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autodiff as ad
from autodiff import (
    Primitive,
    Value,
    anomaly_detection,
    batch_mean,
    compile,
    grad,
    hessian,
    hvp,
    jvp,
    no_grad,
    toposort,
    value_and_grad,
)

numpy = pytest.importorskip("numpy")

Function = Callable[..., Any]


# ---- many nodes, many paths, many terms


def doubled(x: Any, times: int) -> Any:
    for _ in range(times):
        x = x + x
    return x


def diamonds(x: Any, count: int) -> Any:
    for _ in range(count):
        x = ad.sin(x) * 0.5 + ad.exp(-x)
    return x


def kernels(x: Any, count: int) -> Any:
    y = x
    for _ in range(count):
        y = ad.affine([y, x], [1.0, 1.0], 1.0)
    return y


def test_two_to_the_sixty_paths_by_every_route() -> None:
    f = lambda x: doubled(x, 60)  # noqa: E731
    want = 2.0**60
    w = Value(1.0)
    assert compile(lambda: f(w)).backward() == want
    assert w.grad == want
    assert grad(f)(1.0) == compile(grad(f))(1.0) == jvp(f, (1.0,), (1.0,))[1] == want
    assert grad(grad(lambda x: f(x) * x))(1.0) == compile(grad(grad(lambda x: f(x) * x)))(1.0) == 2.0 * want
    assert hvp(lambda x: f(x) ** 2)(1.0, 1.0) == 2.0 * want**2
    assert len(toposort(f(Value(1.0)))) == 61
    assert copy.deepcopy(f(Value(1.0))).data == want


def test_forty_diamonds_by_every_route() -> None:
    """2^40 paths, of which second derivatives have more still; the nodes are 200."""
    f = lambda x: diamonds(x, 40)  # noqa: E731
    first, second = grad(f)(0.7), grad(grad(f))(0.7)
    assert compile(grad(f))(0.7) == first
    assert compile(grad(grad(f)))(0.7) == second
    assert jvp(f, (0.7,), (1.0,))[1] == pytest.approx(first, rel=1e-12, abs=0.0)
    assert hvp(f)(0.7, 1.0) == pytest.approx(second, rel=1e-12, abs=0.0)
    step = 1e-6
    assert (grad(f)(0.7 + step) - grad(f)(0.7 - step)) / (2.0 * step) == pytest.approx(second, rel=1e-6, abs=1e-20)


def test_a_kernel_that_takes_its_own_results_is_freed_without_recursion() -> None:
    x = y = Value(1.0)
    for _ in range(30_000):
        y = ad.sum([y, x, 1.0])
    y.backward()
    assert x.grad == 30_001.0
    del y
    assert grad(lambda x: kernels(x, 2_000))(1.0) == 2_001.0


@pytest.mark.slow
def test_a_sum_of_a_million_terms() -> None:
    xs = [Value(0.5) for _ in range(1000)]
    ad.sum(xs * 1000).backward()
    assert {x.grad for x in xs} == {1000.0}
    one = Value(0.5)
    total = sum((one for _ in range(1_000_000)), Value(0.0))  # a node for each term
    total.backward()
    assert (total.data, one.grad) == (500_000.0, 1e6)
    assert value_and_grad(lambda x: ad.sum([x] * 1_000_000))(0.5) == (500_000.0, 1e6)


@pytest.mark.slow
def test_memory_is_linear_to_a_million_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("resource")
    from tests import endurance

    assert endurance.main(["--nodes", "1000000", "--shapes", "chain", "neurons"], sys.stdout.write) == 0
    assert capsys.readouterr().out.count("right") == 4


def test_growing_cost_is_noticed() -> None:
    pytest.importorskip("resource")
    from tests import endurance

    small = endurance.Cost(1000, 1.0, 1.0, 1.0, 10**5, 10**5, True)
    assert endurance.growth(small, endurance.Cost(10_000, 10.0, 10.0, 10.0, 10**6, 10**6, True)) == []
    quadratic = endurance.Cost(10_000, 100.0, 100.0, 100.0, 10**7, 10**7, True)
    assert len(endurance.growth(small, quadratic)) == 2
    assert endurance.growth(small, endurance.Cost(10_000, 10.0, 10.0, 10.0, 10**6, 10**6, False)) == [
        "a wrong derivative"
    ]


# ---- nothing is kept


def everything(w: Value) -> None:
    """Do something of everything, and drop it."""
    (ad.affine([w, w], [w, 1.0], 0.5).tanh() * w / 3.0).backward()
    hessian(lambda x: ad.exp(x[0] * w.data) * x[1])([0.5, 1.0])
    compile(grad(lambda x: x * w if x > 0.0 else -x))(0.5)
    compile(batch_mean(lambda x: (w * x) ** 2)).backward([1.0, 2.0])
    with suppress(ValueError):
        compile(lambda x: ad.log(x))(-1.0)
    with suppress(FloatingPointError), anomaly_detection():
        ad.sqrt(w * 0.0)
    with suppress(ZeroDivisionError):
        (w / 0.0).backward()


def test_work_leaves_nothing_behind() -> None:
    """Memory does not grow with every 20 rounds: no cache, no graph, no source is kept. (A dict may grow once.)"""
    w = Value(1.0)
    for _ in range(20):
        everything(w)
    gc.collect()
    tracemalloc.start()
    grown = []
    for _ in range(3):
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            everything(w)
        gc.collect()
        grown.append(tracemalloc.get_traced_memory()[0] - before)
    tracemalloc.stop()
    assert min(grown) < 20_000


# ---- interrupts


class Interrupt(BaseException):
    """What Ctrl-C raises, but nobody else's."""


def interrupt(number: int, frame: Any) -> None:
    raise Interrupt


def needs_timer(test: Function) -> Function:
    """Mark a test that is interrupted by a timer, wherever it is by then."""
    here = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    test = pytest.mark.skipif(not here, reason="needs an interval timer, and the main thread")(test)
    test = pytest.mark.usefixtures("untraced")(test)  # an interrupt inside coverage's tracer leaves its lock locked
    # The interrupt may come while Python runs a finaliser, which swallows it.
    return pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")(test)


DELAYS = [0.0002 * 1.35**i for i in range(16)]


def times_interrupted(reset: Callable[[], object], work: Callable[[], object], intact: Callable[[], bool]) -> int:
    """Interrupt the work at many moments; each time, either nothing is done or everything is."""
    count = 0
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in DELAYS:
            reset()
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                work()
                signal.setitimer(signal.ITIMER_REAL, 0.0)
            except Interrupt:
                count += 1
            assert intact(), f"interrupted after {delay}"
    finally:
        signal.signal(signal.SIGALRM, before)
    return count


@needs_timer
def test_backward_interrupted_anywhere() -> None:
    xs = [Value(1.0, f"x{i}") for i in range(50)]
    y = xs[0]
    for i in range(8_000):
        y = y + xs[i % 50] * 0.5

    def reset() -> None:
        for x in xs:
            x.grad = 7.0

    def grads() -> list[float]:
        return [x.grad for x in xs]

    reset()
    before = grads()
    y.backward()
    after = grads()
    assert times_interrupted(reset, y.backward, lambda: grads() in (before, after)) > 0
    reset()
    y.backward()
    assert grads() == after


@needs_timer
def test_compiled_backward_interrupted_anywhere() -> None:
    """The loop is over before a leaf is touched: all contributions of a batch, or none."""
    a, b = Value(0.5, "a"), Value(0.25, "b")
    fast = compile(batch_mean(lambda x: (ad.tanh(a * x) + b * b * x) ** 2))
    xs = [0.001 * i for i in range(5_000)]
    fast.backward(xs)
    once = a.grad, b.grad

    def reset() -> None:
        a.grad = b.grad = 0.0

    assert times_interrupted(reset, lambda: fast.backward(xs), lambda: (a.grad, b.grad) in ((0.0, 0.0), once)) > 0
    reset()
    fast.backward(xs)
    assert (a.grad, b.grad) == once


def test_what_an_interrupt_kept_from_being_left_is_left_with_what_surrounds_it() -> None:
    inner = ad.anomaly_detection()

    def interrupted() -> None:
        with ad.no_grad():
            inner.__enter__()
            raise Interrupt

    with pytest.raises(Interrupt):
        interrupted()
    assert Value(0.0).sqrt().parents  # recorded, and without a complaint about its derivative
    with pytest.raises(RuntimeError, match="reverse order"):
        inner.__exit__(GeneratorExit, GeneratorExit(), None)
    assert (Value(1.0) * 2.0).parents


@needs_timer
def test_transforms_and_compilers_interrupted_anywhere() -> None:
    w = Value(2.0, "w")

    def f(x: Any) -> Any:
        for i in range(120):
            x = ad.sin(x) * w + x / (i + 1.0)
        return x

    want = grad(f)(0.5).data
    holder: list[Any] = [compile(grad(f))]

    def work() -> None:
        grad(f)(0.5)
        holder[0] = compile(grad(f))
        holder[0](0.5)
        holder[0](0.25)

    def intact() -> bool:
        unchanged = (w.data, w.grad) == (2.0, 0.0) and (w * 1.0).parents == (w,)
        return unchanged and holder[0](0.5) == want == grad(f)(0.5).data

    assert times_interrupted(lambda: None, work, intact) > 0
    assert grad(lambda x: ad.exp(x) * x)(0.0) == 1.0


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RecursionError, SystemExit, GeneratorExit])
def test_a_rule_that_raises_leaves_everything_as_it_was(error: type[BaseException]) -> None:
    """Half way through a sweep, by every transform that sweeps; afterwards the same graph gives the right answer."""
    armed: list[int] = []

    def rule(out: Any, x: Any) -> Any:
        if armed:
            raise error
        return 3.0

    fragile = Primitive("fragile", lambda x: 3.0 * x, "3.0 * {}", rule)
    a, b = Value(2.0, "a"), Value(3.0, "b")
    a.grad, b.grad = 10.0, nan
    f = lambda x: fragile(x * b) * x + b  # noqa: E731
    y = f(a)
    armed.append(1)
    for attempt in (
        y.backward,
        lambda: grad(f)(2.0),
        lambda: grad(grad(f))(2.0),
        lambda: jvp(f, (2.0,), (1.0,)),
        lambda: compile(grad(f))(2.0),
        lambda: compile(f).backward(2.0),
        lambda: batch_mean(f)([1.0, 2.0]).backward(),
    ):
        with pytest.raises(error):
            attempt()
        assert (a.grad, a.data, b.data, math.isnan(b.grad)) == (10.0, 2.0, 3.0, True)
        assert (a * b).parents == (a, b)
    armed.clear()
    b.grad = 20.0
    y.backward()
    # y = 3 a b a + b
    assert (a.grad, b.grad) == (10.0 + 6.0 * 2.0 * 3.0, 20.0 + 3.0 * 4.0 + 1.0)
    assert grad(f)(2.0).data == compile(grad(f))(2.0) == 36.0


def test_a_function_that_stops_half_way_leaves_no_trace() -> None:
    w = Value(2.0)
    fail = [True]

    def f(x: Any) -> Any:
        y = x * w
        if fail:
            raise LookupError("half way")
        return y * y

    fast = compile(value_and_grad(f))
    for attempt in (lambda: grad(f)(1.0), lambda: fast(1.0), lambda: hessian(f)(1.0), lambda: batch_mean(f)([1.0])):
        with pytest.raises(LookupError):
            attempt()
    fail.clear()
    assert fast(1.0) == (4.0, 8.0)
    assert w.grad == 0.0


def test_generators_among_arguments_and_results() -> None:
    def broken(x: Any) -> Iterator[Any]:
        yield x
        raise LookupError("no more terms")

    x = Value(2.0)
    for kernel in (ad.sum, ad.logsumexp, ad.softmax, ad.sum_of_squares):
        with pytest.raises(LookupError, match="no more terms"):
            kernel(broken(x))
        with pytest.raises(LookupError):
            grad(lambda t, kernel=kernel: kernel(broken(t)))(1.0)
    assert grad(lambda t: ad.sum(t * k for k in range(4)))(1.0) == 6.0

    def yields(t: Any) -> Iterator[Any]:
        yield t * t

    for transform in (grad, value_and_grad, compile):
        with pytest.raises(TypeError):
            transform(yields)(1.0) if transform is not compile else grad(compile(yields))(1.0)


# ---- threads and tasks


@pytest.fixture
def _busy_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(job: Callable[[int], Any], count: int = 6) -> list[Any]:
    start = threading.Barrier(count)

    def together(i: int) -> Any:
        start.wait()
        return job(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(together, range(count)))


@pytest.mark.usefixtures("_busy_threads")
def test_threads_whose_losses_share_interior_nodes_lose_nothing() -> None:
    w, v = Value(2.0), Value(3.0)
    shared = ad.tanh(w * v)
    for _ in range(30):
        shared = shared * 1.5 + w * 0.25
    losses = [shared * float(i + 1) + v for i in range(6)]
    for loss in losses:
        loss.backward()
    want = w.grad, v.grad
    w.grad = v.grad = 0.0

    def job(i: int) -> None:
        for _ in range(10):
            losses[i].backward()

    in_threads(job)
    assert (w.grad, v.grad) == pytest.approx([10.0 * g for g in want], rel=1e-12, abs=0.0)


@pytest.mark.usefixtures("_busy_threads")
def test_threads_with_graphs_of_their_own_on_shared_leaves_see_their_own_signals() -> None:
    """Interior nodes belong to one thread each: their `grad` must be what one thread alone would get."""
    w = Value(2.0)

    def job(i: int) -> bool:
        for _ in range(10):
            h = w * float(i)
            y = ad.sin(h) * h
            y.backward()
            if h.grad != math.cos(h.data) * h.data + math.sin(h.data) or y.grad != 1.0:
                return False
            if grad(lambda x: ad.sin(x * i) * w.data)(1.0) != math.cos(i) * i * 2.0:
                return False
        return True

    assert all(in_threads(job))


@pytest.mark.usefixtures("_busy_threads")
def test_a_leaf_changed_by_another_thread_is_read_once() -> None:
    """Each node keeps the numbers that it was computed from: value and derivative belong together."""
    w, stop = Value(1.0), threading.Event()

    def change() -> None:
        for number in itertools.cycle([1.0, 5.0]):
            w.data = number
            if stop.is_set():
                return

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            y = w * 3.0
            z = ad.square(y)
            z.backward()
            assert (y.data, z.data) in ((3.0, 9.0), (15.0, 225.0))
            assert y.grad == 2.0 * y.data
    finally:
        stop.set()
        thread.join()


def test_modes_belong_to_one_task() -> None:
    w = Value(2.0)

    async def without(gate: asyncio.Event) -> tuple[Any, ...]:
        with no_grad():
            await gate.wait()
            return (w * 3.0).parents

    async def within(gate: asyncio.Event) -> tuple[Any, ...]:
        await asyncio.sleep(0.0)
        parents = (w * 3.0).parents
        gate.set()
        return parents

    async def both() -> list[tuple[Any, ...]]:
        gate = asyncio.Event()
        return list(await asyncio.gather(without(gate), within(gate)))

    assert asyncio.run(both()) == [(), (w,)]


def test_modes_of_nested_generators_end_with_them() -> None:
    def counting() -> Iterator[int]:
        with no_grad():
            yield from range(5)

    w = Value(2.0)
    outer, inner = counting(), counting()
    next(outer), next(inner)
    inner.close()
    outer.close()
    assert (w * 3.0).parents == (w,)


# ---- objects of every type


class Colour(enum.Enum):
    RED = 1


class Size(enum.IntEnum):
    LARGE = 3


class Pair(NamedTuple):
    first: float
    second: float


@dataclass
class Box:
    content: float = 1.0


class OnlyFloat:
    """Turns into a float when asked, but does not say that it is a number."""

    def __float__(self) -> float:
        return 1.0


class OnlyIndex:
    def __index__(self) -> int:
        return 1


class Text(str):
    __slots__ = ()


class Unwilling:
    """Knows of reflected operators, and declines."""

    def decline(self, other: Any) -> Any:
        return NotImplemented

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = decline
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = decline
    __lt__ = __le__ = __gt__ = __ge__ = decline


class Willing:
    """Knows what to do with anything on its left or right."""

    def take(self, other: Any) -> str:
        return f"taken {type(other).__name__}"

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = take
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = take
    __lt__ = __le__ = __gt__ = __ge__ = take


def _generator() -> Iterator[int]:
    yield 1


THINGS: dict[str, Any] = {
    "None": None,
    "...": ...,
    "NotImplemented": NotImplemented,
    "str": "1",
    "empty str": "",
    "str subclass": Text("1"),
    "bytes": b"1",
    "bytearray": bytearray(b"1"),
    "memoryview": memoryview(b"1"),
    "list": [1.0],
    "empty list": [],
    "tuple": (1.0,),
    "dict": {"a": 1.0},
    "set": {1.0},
    "frozenset": frozenset({1.0}),
    "range": range(3),
    "slice": slice(1),
    "deque": collections.deque([1.0]),
    "Counter": collections.Counter("a"),
    "array": array.array("d", [1.0]),
    "complex": 1j,
    "complex that is real": 1.0 + 0.0j,
    "Decimal": Decimal(1),
    "Decimal nan": Decimal("nan"),
    "object": object(),
    "type": int,
    "Value, the type": Value,
    "function": len,
    "lambda": lambda x: x,
    "module": math,
    "generator": _generator(),
    "iterator": iter([1.0]),
    "exception": ValueError("1"),
    "enum member": Colour.RED,
    "named tuple": Pair(1.0, 2.0),
    "dataclass": Box(),
    "datetime": datetime.datetime(2000, 1, 1),
    "date": datetime.date(2000, 1, 1),
    "timedelta": datetime.timedelta(1),
    "uuid": uuid.UUID(int=1),
    "path": pathlib.PurePath("1"),
    "pattern": re.compile("1"),
    "namespace": types.SimpleNamespace(data=1.0, grad=0.0),
    "weak reference": weakref.ref(Colour),
    "ctypes": ctypes.c_double(1.0),
    "only __float__": OnlyFloat(),
    "only __index__": OnlyIndex(),
    "declines": Unwilling(),
    "a primitive": ad.exp,
    "numpy complex": numpy.complex128(1.0),
    "numpy str": numpy.str_("1"),
    "numpy bytes": numpy.bytes_(b"1"),
    "numpy datetime": numpy.datetime64("2000-01-01"),
    "numpy timedelta": numpy.timedelta64(1, "D"),
    "numpy void": numpy.void(b"1"),
    "numpy dtype": numpy.dtype("f8"),
}
NUMBERS: dict[str, Any] = {
    "int": 3,
    "negative int": -2,
    "True": True,
    "False": False,
    "int enum": Size.LARGE,
    "Fraction": Fraction(1, 4),
    "huge int": 10**300,
    **{
        f"numpy {kind}": getattr(numpy, kind)(1)
        for kind in (
            "bool_",
            *(f"{u}int{8 * n}" for u in ("", "u") for n in (1, 2, 4, 8)),
            "float16",
            "float32",
            "float64",
        )
    },
    "numpy longlong": numpy.longlong(1),
    "numpy longdouble": numpy.longdouble(1),
    "numpy array of no dimension": numpy.array(1.0),
}
ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow]
IN_PLACE = [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv, operator.imod]
ORDER = [operator.lt, operator.le, operator.gt, operator.ge]


def formats(operation: Function, left: Any) -> bool:
    """Say whether this is no arithmetic: "..." % v formats a text."""
    return operation is operator.mod and isinstance(left, str | bytes | bytearray)


@pytest.mark.parametrize("name", THINGS)
def test_what_is_no_number_is_refused_on_either_side(name: str) -> None:
    """By a TypeError, whatever the operator: nothing is converted that Python's floats would not convert."""
    thing, v = THINGS[name], Value(1.5, "v")
    for operation in [*ARITHMETIC, *IN_PLACE, divmod, operator.matmul, operator.and_, operator.lshift]:
        with pytest.raises(TypeError):
            operation(v, thing)
        if (
            not formats(operation, thing) and operation not in IN_PLACE
        ):  # a Counter's += asks for items(), of floats too
            with pytest.raises(TypeError):
                operation(thing, v)
    for compare in ORDER:
        with pytest.raises(TypeError):
            compare(v, thing)
        with pytest.raises(TypeError):
            compare(thing, v)
    assert (v.data, v.grad, v.label) == (1.5, 0.0, "v")


@pytest.mark.parametrize("name", sorted(set(THINGS) - {"Value, the type"}))  # it has all that a Value has
def test_what_is_no_number_is_refused_by_functions(name: str) -> None:
    thing, v = THINGS[name], Value(1.5)
    for call in (
        lambda: ad.exp(thing),
        lambda: ad.maximum(v, thing),
        lambda: ad.maximum(thing, v),
        lambda: ad.where(v, v, thing),
        lambda: ad.sum([v, thing]),
        lambda: ad.dot([v, thing], [1.0, 2.0]),
        lambda: ad.affine([v], [1.0], thing),
        lambda: ad.softmax_cross_entropy([v, thing], 0),
        lambda: ad.logsumexp([thing]),
        lambda: v.clip(0.0, thing),
        lambda: Value(thing),
        lambda: setattr(v, "data", thing),
        lambda: (v * v).backward(thing),
        lambda: ad.descend([v], thing),
    ):
        with pytest.raises(TypeError):
            call()
    assert (v.data, v.grad) == (1.5, 0.0)


@pytest.mark.parametrize("name", THINGS)
def test_nothing_equals_what_is_no_number(name: str) -> None:
    v = Value(1.5)
    if name == "numpy timedelta":  # it says that it is a whole number, and then does not turn into one
        with pytest.raises(TypeError):
            v == THINGS[name]  # noqa: B015
        return
    assert not bool(v == THINGS[name])
    assert bool(v != THINGS[name])
    assert not bool(THINGS[name] == v)


@pytest.mark.parametrize("name", NUMBERS)
def test_real_numbers_of_every_type_count_as_floats(name: str) -> None:
    number = NUMBERS[name]
    for operation in [*ARITHMETIC, *IN_PLACE]:
        for args in ((Value(1.5), number), (number, Value(1.5))):
            if operation in IN_PLACE and not isinstance(args[0], Value):
                continue  # an array's += wants to keep the result
            try:
                want = operation(*(arg.data if isinstance(arg, Value) else float(arg) for arg in args))
                if isinstance(want, complex):
                    raise ValueError("the one exception to promise 1")
            except (ArithmeticError, ValueError) as error:
                with pytest.raises(type(error)):
                    operation(*args)
                continue
            found = operation(*args)
            assert type(found) is Value
            assert (found.data, type(found.data)) == (want, float)
            found.backward()
    for compare in [*ORDER, operator.eq, operator.ne]:
        assert compare(Value(1.5), number) == compare(1.5, float(number))
        assert compare(number, Value(1.5)) == compare(float(number), 1.5)


def test_those_who_know_better_have_their_turn() -> None:
    v = Value(1.0)
    for operation in [*ARITHMETIC, *ORDER]:
        assert operation(v, Willing()) == "taken Value"
        assert operation(Willing(), v) == "taken Value"
    mock = unittest.mock.MagicMock()
    mock.__radd__.return_value = "mocked"
    assert v + mock == "mocked"


def test_errors_of_others_pass_through() -> None:
    class Raising:
        def __radd__(self, other: Any) -> Any:
            raise LookupError("mine")

        def __eq__(self, other: object) -> bool:
            raise LookupError("mine too")

        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(LookupError, match="mine"):
        Value(1.0) + Raising()
    with pytest.raises(LookupError, match="mine too"):
        Value(1.0) == Raising()  # noqa: B015


def test_a_subclass_is_a_value() -> None:
    class Named(Value):
        def __init__(self, data: float, name: str) -> None:
            super().__init__(data)
            self.name = name

    a, b = Named(2.0, "a"), Value(3.0)
    y = a * b + b**a + ad.exp(a) + ad.sum([a, b])
    y.backward()
    assert a.grad == pytest.approx(3.0 + 9.0 * math.log(3.0) + math.exp(2.0) + 1.0, rel=1e-15, abs=0.0)
    assert a.name == "a"


# ---- no function of Python takes the number out of its graph in silence

WHOLE = {"floor", "ceil", "trunc"}  # whole numbers have no derivative: they may leave


@pytest.mark.parametrize("name", sorted(name for name in dir(math) if callable(getattr(math, name))))
def test_pythons_math_refuses_or_keeps_the_graph(name: str) -> None:
    f, v = getattr(math, name), Value(1.0)
    for args in ((v,), (v, v), (v, v, v), ([v, v],), ([v], [v]), (3, v), (v, 3)):
        try:
            result = f(*args)
        except TypeError:
            continue
        assert isinstance(result, Value) or (name in WHOLE and type(result) is int)


SINKS: dict[str, Function] = {
    "float": float,
    "complex": complex,
    "bin": bin,
    "chr": chr,
    "range": range,
    "bytes": bytes,
    "list repetition": lambda v: [1] * v,
    "index": lambda v: [1, 2][v],
    "slice": lambda v: [1, 2][:v],
    "enumerate": lambda v: list(enumerate([1], v)),
    "format as a number": lambda v: "%f" % v,  # noqa: UP031
    "struct": lambda v: struct.pack("<d", v),
    "array": lambda v: array.array("d", [v]),
    "ctypes": ctypes.c_double,
    "Decimal": Decimal,
    "Fraction": Fraction,
    "fsum": lambda v: math.fsum([v]),
    "timedelta": datetime.timedelta,
    "numpy float": numpy.float64,
    "numpy array of floats": lambda v: numpy.array([v], dtype=float),
    "numpy assignment": lambda v: operator.setitem(numpy.zeros(1), 0, v),
    "numpy astype": lambda v: numpy.array([v]).astype(float),
}


@pytest.mark.parametrize("name", SINKS)
def test_what_needs_a_float_is_refused(name: str) -> None:
    with pytest.raises((TypeError, ValueError, struct.error)):
        SINKS[name](Value(1.0))


# `round` is a question, as `int` is. The others read, write, stop, or run code.
OTHERS = {"round", "breakpoint", "input", "help", "exit", "quit", "print", "open", "exec", "eval"}
BUILTINS = {name for name, f in vars(builtins).items() if isinstance(f, types.BuiltinFunctionType | type)}


@pytest.mark.parametrize("name", sorted(name for name in BUILTINS - OTHERS if name.islower() and name[0] != "_"))
def test_builtins_never_give_a_float(name: str) -> None:
    f, v = getattr(builtins, name), Value(1.5)
    for args in ((v,), (v, v), ([v, v],), (v, 2), (2, v), ([v], v)):
        try:
            result = f(*args)
        except (TypeError, ValueError, AttributeError):
            continue
        assert not isinstance(result, float | complex), (name, args)


# ---- anomaly detection

Step = tuple[str, int, int]
PROGRAMS: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(
        st.sampled_from(["+", "*", "/", "exp", "log", "sqrt", "sum", "max"]), st.integers(0, 9), st.integers(0, 9)
    ),
    min_size=1,
    max_size=8,
)
OPERATIONS: dict[str, Function] = {
    "+": operator.add,
    "*": operator.mul,
    "/": operator.truediv,
    "exp": lambda x, y: ad.exp(x),
    "log": lambda x, y: ad.log(x),
    "sqrt": lambda x, y: ad.sqrt(x),
    "sum": lambda x, y: ad.sum([x, y, x]),
    "max": ad.maximum,
}


def steps(program: list[Step], numbers: list[Any]) -> Iterator[Value]:
    for name, i, j in program:
        numbers.append(OPERATIONS[name](numbers[i % len(numbers)], numbers[j % len(numbers)]))
        yield numbers[-1]


@settings(max_examples=150)
@given(PROGRAMS, st.lists(st.sampled_from([0.0, 1.0, -2.0, 1e200, inf, nan, 700.0]), min_size=1, max_size=3))
def test_anomalies_are_found_where_they_first_appear(program: list[Step], xs: list[float]) -> None:
    def first() -> int | type[Exception] | None:
        """Find it by looking at every node."""
        try:
            for i, node in enumerate(steps(program, [Value(x) for x in xs])):
                if not all(map(isfinite, (node.data, *node.local_derivatives()))):
                    return i
        except (ArithmeticError, ValueError) as error:
            return type(error)
        return None

    done = 0
    found: int | type[Exception] | None = None
    try:
        with anomaly_detection():
            for _ in steps(program, [Value(x) for x in xs]):
                done += 1
    except FloatingPointError:
        found = done
    except (ArithmeticError, ValueError) as error:
        found = type(error)
    assert found == first()


def test_anomalies_inside_transforms_batches_and_compiled_functions() -> None:
    w = Value(0.0, "w")
    for attempt in (
        lambda: grad(lambda x: ad.sqrt(x))(0.0),
        lambda: grad(grad(lambda x: x * ad.sqrt(x)))(0.0),
        lambda: jvp(ad.sqrt, (0.0,), (1.0,)),
        lambda: batch_mean(lambda x: ad.sqrt(w * x))([1.0]),
        lambda: compile(lambda x: ad.sqrt(w * x))(1.0),
        lambda: compile(grad(lambda x: ad.sqrt(x)))(0.0),
        lambda: compile(lambda x: ad.sqrt(w * x)).backward(1.0),
        lambda: ad.checkpoint(lambda x: ad.sqrt(x * w))(Value(1.0)),
    ):
        with anomaly_detection(), pytest.raises(FloatingPointError, match="sqrt"):
            attempt()
    fast = compile(lambda x: ad.sqrt(w * x))
    assert fast(1.0) == 0.0
    with anomaly_detection():
        for _ in range(2):
            with pytest.raises(FloatingPointError, match="sqrt"):
                fast(1.0)
    assert fast(1.0) == 0.0
