"""Numbers of many digits that go through a function as Values do, for a derivative to compare with.

Needs mpmath. A function of `special` is evaluated from its own source, with mpmath in the place of `math`.
"""

import inspect
import math
import operator
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from autodiff import primitives as p
from autodiff import special
from autodiff.primitives import Primitive
from autodiff.value import Value

__all__: list[str] = []


class UnknownError(TypeError):
    """A primitive, or something else in a function, that mpmath cannot evaluate."""


def _operands(primitive: Primitive) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return (lambda x, y: primitive(x, y)), (lambda y, x: primitive(x, y))


def _comparison(name: str) -> Callable[["Precise", Any], bool]:
    compare = getattr(operator, name)
    return lambda x, y: bool(compare(x.number, y.number if isinstance(y, Precise) else y))


class Precise:
    """A number of many digits."""

    def __init__(self, number: Any, library: "Library") -> None:
        self.number = number
        self.library = library

    def apply_primitive(self, primitive: Primitive, args: tuple[Any, ...]) -> "Precise":
        """Apply a primitive at many digits: what a `Primitive` asks of any number that is no float."""
        inputs = [x if isinstance(x, Precise) else self.library.number(x) for x in args]
        known = self.library.function(primitive)
        result: Any
        if known is None:  # declared by a user: with operators only, or this raises
            result = primitive.value(*inputs)
        else:
            result = known(*[x.number for x in inputs])
            result = result if isinstance(result, self.library.mp.mpc) else self.library.number(result)
        if not isinstance(result, Precise) or not isinstance(result.number, self.library.mp.mpf):
            raise UnknownError(f"{primitive.name} does not stay among real numbers of many digits")
        return result

    def __getattr__(self, name: str) -> Any:
        method = vars(Value).get(name)
        if callable(method) and not name.startswith("_"):
            return lambda *args: method(self, *args)
        raise UnknownError(f"{name} of a number of many digits")

    __add__, __radd__ = _operands(p.add)
    __sub__, __rsub__ = _operands(p.sub)
    __mul__, __rmul__ = _operands(p.mul)
    __truediv__, __rtruediv__ = _operands(p.div)
    __floordiv__, __rfloordiv__ = _operands(p.floordiv)
    __mod__, __rmod__ = _operands(p.mod)
    __pow__, __rpow__ = _operands(p.power)
    __lt__ = _comparison("lt")
    __le__ = _comparison("le")
    __gt__ = _comparison("gt")
    __ge__ = _comparison("ge")
    __eq__ = _comparison("eq")
    __ne__ = _comparison("ne")
    __hash__ = object.__hash__

    def __neg__(self) -> "Precise":
        return self.apply_primitive(p.neg, (self,))

    def __pos__(self) -> "Precise":
        return self

    def __abs__(self) -> "Precise":
        return self.apply_primitive(p.absolute, (self,))

    def __bool__(self) -> bool:
        return bool(self.number)

    def __int__(self) -> int:
        return int(self.number)


class Library:
    """The scalar functions at so many digits."""

    def __init__(self, digits: int) -> None:
        import mpmath

        self.mp = mpmath.mp.clone()
        self.mp.dps = digits
        self.math = self._math()
        self.special = self._special()

    def number(self, x: Any) -> Precise:
        """Convert a float, a Value (a constant here) or a number of mpmath."""
        return Precise(self.mp.mpf(x._data if isinstance(x, Value) else x), self)

    def function(self, primitive: Primitive) -> Callable[..., Any] | None:
        """Find what computes a primitive; None for one that a user declared."""
        value = primitive.value
        home, name = getattr(value, "__module__", ""), getattr(value, "__name__", "")
        if home == "math":
            found: Callable[..., Any] = getattr(self.math, name)
            return found
        if home == special.__name__:
            return self.special[name]  # type: ignore[no-any-return]
        if value is operator.floordiv:  # which numbers of mpmath have from 1.4 on
            return lambda x, y: self.mp.nint((x - x % y) / y)
        return value if home == operator.__name__ or home == "_operator" else None

    def _math(self) -> SimpleNamespace:
        """Make what `special` and the table use of `math`."""
        mp = self.mp
        names = "sqrt exp expm1 sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh hypot"
        same = {name: getattr(mp, name) for name in [*names.split(), "degrees", "radians", "erf", "erfc", "gamma"]}
        return SimpleNamespace(
            **same,
            cbrt=lambda x: mp.sign(x) * mp.cbrt(abs(x)),
            lgamma=lambda x: mp.re(mp.loggamma(x)),
            log=mp.log,
            log2=lambda x: mp.log(x, 2),
            log10=mp.log10,
            log1p=mp.log1p,
            exp2=lambda x: mp.mpf(2) ** x,
            pow=operator.pow,
            frexp=mp.frexp,
            ldexp=mp.ldexp,
            copysign=lambda x, y: abs(x) if y >= 0 else -abs(x),
            fmod=lambda x, y: x - y * mp.sign(x / y) * mp.floor(abs(x / y)),
            remainder=lambda x, y: x - y * mp.nint(x / y),
            floor=mp.floor,
            ceil=mp.ceil,
            trunc=lambda x: mp.sign(x) * mp.floor(abs(x)),
            factorial=lambda n: mp.mpf(math.factorial(n)),
            fsum=mp.fsum,
            isinf=mp.isinf,
            pi=+mp.pi,
            inf=mp.inf,
            nan=mp.nan,
        )

    def _special(self) -> dict[str, Any]:
        """Run the source of `special` with these functions for `math`, and floats of many digits."""
        module = ModuleType("special_at_many_digits")
        names = vars(module)
        lines = inspect.getsource(special).replace("from math import inf, nan, pi", "").replace("import math\n", "\n")
        names |= {"math": self.math, "inf": self.math.inf, "nan": self.math.nan, "pi": self.math.pi}
        names |= {"float": self.mp.mpf, "round": lambda x: int(self.mp.nint(x))}
        exec(compile(lines, special.__file__, "exec"), names)
        return names
