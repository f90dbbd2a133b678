"""The scalar functions that `math` lacks, on plain floats.

Each takes and returns floats, is accurate over its whole range, and raises where `math` would.
For its values this module needs `math` alone: an exported function carries a copy of what it needs.
"""

import math
from collections.abc import Sequence
from math import inf, nan, pi

__all__: list[str] = []  # The table in `primitives` gives these functions their public names.

LN2 = math.log(2.0)
LN2_REST = 2.3190468138462996e-17 if LN2 == 0.6931471805599453 else 0.0  # what a float leaves of log(2)
LN10 = math.log(10.0)
SQRT2 = math.sqrt(2.0)
TWO_OVER_SQRT_PI = 2.0 / math.sqrt(pi)
INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * pi)
DEGREES = 180.0 / pi
RADIANS = pi / 180.0
SMALLEST_NORMAL = 2.0**-1022  # smaller floats have fewer digits
LARGEST_FACTOR = 5000.0  # so many times the rounding of a smaller float is less than 1e-12 of this one
# Self-normalising networks, Klambauer et al. 2017, equation 14.
SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717
# Hendrycks and Gimpel 2016: gelu(x) is close to x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)).
GELU_C1 = 2.0 * math.sqrt(2.0 / pi)
GELU_C3 = 0.044715 * GELU_C1

# ---- arithmetic that gives the limit where Python raises: for local derivatives


def chain(signal: float, local: float) -> float:
    """Multiply an error signal by a local derivative; an exact 0 wins over infinity and nan."""
    return signal * local if signal and local else 0.0


def ieee_div(x: float, y: float) -> float:
    """Divide as IEEE 754 does: by zero gives an infinity, or nan for 0 / 0."""
    if y:
        return x / y
    return x * math.copysign(inf, y) if x else nan


def ieee_log(x: float) -> float:
    """Take the logarithm: -inf at 0, nan below."""
    if x > 0.0:
        return math.log(x)
    return nan if x else -inf


def ieee_pow(x: float, y: float) -> float:
    """Raise x to the power y: an infinity instead of overflow or a zero divided by, nan instead of a complex."""
    if x < 0.0 and y % 1.0 and -inf < x and -inf < y < inf:
        return nan
    try:
        return math.pow(x, y)
    except OverflowError:
        return -inf if x < 0.0 and y % 2.0 == 1.0 else inf
    except ValueError:  # 0 to a negative power
        return math.copysign(inf, x) if y % 2.0 == 1.0 else inf


def literal() -> float:
    """Stand for a number that is known: it has no arguments to compute it from."""
    return nan


def first(x: float, *_: float) -> float:
    """Return the first argument."""
    return x


# ---- choices


def greater(x: float, y: float) -> float:
    """Say whether x > y, as 1.0 or 0.0."""
    return 1.0 if x > y else 0.0


def beats(x: float, y: float) -> float:
    """Say whether x > y, as 1.0 or 0.0; a tie counts one half, and nan is nan."""
    return 1.0 if x > y else 0.0 if x < y else 0.5 if x == y else nan


def within(x: float, low: float, high: float) -> float:
    """Say whether low <= x <= high, as 1.0 or 0.0."""
    return 1.0 if low <= x <= high else 0.0


def where(condition: float, x: float, y: float) -> float:
    """Choose x if the condition holds, else y."""
    return x if condition else y


def maximum(x: float, y: float) -> float:
    """Return the larger; nan if either is nan."""
    return x if x >= y or x != x else y


def minimum(x: float, y: float) -> float:
    """Return the smaller; nan if either is nan."""
    return x if x <= y or x != x else y


def clip(x: float, low: float, high: float) -> float:
    """Limit x to the interval from low to high."""
    return low if x < low else high if x > high else x


def hard_tanh(x: float) -> float:
    """Limit x to the interval from -1 to 1."""
    return -1.0 if x < -1.0 else 1.0 if x > 1.0 else x


def sign(x: float) -> float:
    """Return -1, 0 or 1 (nan for nan)."""
    return 1.0 if x > 0.0 else -1.0 if x < 0.0 else x * 0.0


# ---- rounding, as floats


def floor(x: float) -> float:
    """Round down, as a float."""
    return float(math.floor(x)) if -inf < x < inf else x


def ceil(x: float) -> float:
    """Round up, as a float."""
    return float(math.ceil(x)) if -inf < x < inf else x


def trunc(x: float) -> float:
    """Round towards 0, as a float."""
    return float(math.trunc(x)) if -inf < x < inf else x


def rint(x: float) -> float:
    """Round to the nearest whole number, ties to even, as a float."""
    return float(round(x)) if -inf < x < inf else x


# ---- powers


def square(x: float) -> float:
    """Return x * x."""
    return x * x


def reciprocal(x: float) -> float:
    """Return 1 / x."""
    return 1.0 / x


def rsqrt(x: float) -> float:
    """Return 1 / sqrt(x)."""
    return 1.0 / math.sqrt(x)


def cube_root(x: float) -> float:
    """Return the cube root: by a name that `native` can replace, for Numba has no math.cbrt."""
    return math.cbrt(x)


def cbrt_derivative(order: float, x: float) -> float:
    """Return the derivative of that order of the cube root; at 0 its limit, nan where that depends on the side."""
    if not 1.0 <= order <= 1000.0:
        return nan  # no derivative of such an order is ever asked for
    if not x:
        return inf if order % 2.0 else nan
    result, inverse = 1.0, 1.0 / cube_root(x)
    for k in range(int(order)):
        result *= (1.0 - 3.0 * k) / 3.0
    for _ in range(3 * int(order) - 1):
        result *= inverse
    return result


def power(x: float, y: float) -> float:
    """Return x ** y; a power that would turn complex raises ValueError."""
    result = x**y
    if isinstance(result, float):
        return result
    raise ValueError("a negative number to a fractional power is complex")


def power_derivative(by_x: float, by_y: float, x: float, y: float) -> float:
    """Return the derivative of x ** y, so often by x and so often by y, for orders from 0 to 1000.

    It is a factor times x ** (y - by_x). Where that power is too large or too small for a float, or so small that it
    has lost digits, the product may be none of it: then the factor is multiplied by its fourth root four times.
    """
    if not (0.0 <= by_x <= 1000.0 and 0.0 <= by_y <= 1000.0):  # no derivative of such an order is ever asked for
        return nan
    exponent = y - by_x
    if by_y == 0.0:
        power = product = ieee_pow(x, exponent)
        k = by_x
        while k > 0.0:
            k -= 1.0
            product = (y - k) * product if product and y != k else 0.0  # a chain of `chain`
        if (x > 0.0 and power >= SMALLEST_NORMAL and -inf < product < inf) or is_plain_product(by_x, y):
            return product
    log = ieee_log(abs(x)) if by_y else 0.0
    # From y = 1e25 on, x ** y is 1, 0 or infinite: all that counts of the factor is its sign, and that it is finite.
    factor = power_factor(by_x, by_y, log, y if -1e25 < y < 1e25 or not log else clip(y, -1e25, 1e25))
    if x < 0.0:
        factor *= power_sign(by_x, by_y, x, y)
        if factor != factor:
            return chain(factor, ieee_pow(x, exponent))
    power = ieee_pow(abs(x), exponent)
    if SMALLEST_NORMAL <= power < inf or abs(exponent) < 0.5 or (by_x == 0.0 and abs(factor) <= LARGEST_FACTOR):
        return chain(factor, power)
    root = ieee_pow(abs(x), 0.25 * exponent)
    return chain(chain(chain(chain(factor, root), root), root), root)


def power_sign(by_x: float, by_y: float, x: float, y: float) -> float:
    """Return that derivative divided by the one at |x|, for x < 0: 1, -1, or nan where it would be complex."""
    if by_y or (y % 1.0 and -inf < x and -inf < y < inf):
        return nan
    return -1.0 if (y % 2.0 - by_x) % 2.0 == 1.0 else 1.0  # of y - by_x, as it is rounded, one could not tell


def is_plain_product(by_x: float, y: float) -> bool:
    """Say whether a derivative of x ** y by x is the product y * ((y - 1) * x ** (y - 2)), say, whatever x is.

    Factors of at least 1 overflow only where the derivative does, and factors of a few thousand do not magnify by much
    what a power that is so small has lost; or the power is neither large nor small for any x.
    """
    size, in_range = 1.0, abs(y - by_x) < 0.89
    for i in range(int(by_x)):
        size *= abs(y - i)
        if not (in_range or abs(y - i) >= 1.0 or y == i):
            return False
    return size <= LARGEST_FACTOR


def power_factor(by_x: float, by_y: float, log: float, y: float) -> float:
    """Return that derivative divided by x ** (y - by_x): by x once y, by y once log(x), by both y log(x) + 1."""
    if by_x == 0.0:
        return ieee_pow(log, by_y)
    if by_x == by_y == 1.0:
        return chain(y, log) + 1.0
    n = int(by_y)
    terms = [1.0] + [0.0] * n  # the product of y, y - 1, ... and its derivatives, each over the factorial of its order
    for i in range(int(by_x)):
        for k in range(n, 0, -1):
            terms[k] = chain(terms[k], y - i) + terms[k - 1]
        terms[0] = terms[0] * (y - i)
    result, ways = terms[0], 1.0
    for k in range(n):
        ways = ways * (n - k)
        result = chain(result, log) + ways * terms[k + 1]
    return result


def one_minus_square(x: float) -> float:
    """Return 1 - x * x, without cancellation near 1."""
    return (1.0 - x) * (1.0 + x)


def times_complement(p: float) -> float:
    """Return p * (1 - p), the variance of one toss of a coin."""
    return p * (1.0 - p)


def unit(x: float, y: float) -> float:
    """Return x / hypot(x, y), the cosine of the angle of (x, y); 0 at the origin."""
    radius = math.hypot(x, y)
    if radius < 1e-290 and radius:  # subnormal numbers have few digits
        return unit(2.0**600 * x, 2.0**600 * y)
    if radius == inf:
        if abs(x) == inf:
            return math.copysign(1.0, x) if abs(y) < inf else nan
        return unit(0.25 * x, 0.25 * y) if abs(y) < inf else math.copysign(0.0, x)
    return x / radius if radius else 0.0


def inverse_power_real(order: float, x: float, y: float) -> float:
    """Return the real part of (x + iy)^-order, for whole orders from 1 to 1000; nan at the origin."""
    return inverse_power(order, x, y)[0]


def inverse_power_imag(order: float, x: float, y: float) -> float:
    """Return the imaginary part of (x + iy)^-order, for whole orders from 1 to 1000; nan at the origin."""
    return inverse_power(order, x, y)[1]


def inverse_power(order: float, x: float, y: float) -> tuple[float, float]:
    """Return real and imaginary part of (x + iy)^-order: no cancellation in the first two."""
    if not 1.0 <= order <= 1000.0:
        return nan, nan  # no derivative of such an order is ever asked for
    n = int(order)
    if 1e-70 < abs(x) < 1e70 and 1e-70 < abs(y) < 1e70 and n <= 4:
        return turned(n, x, y)
    low, high = min(abs(x), abs(y)), max(abs(x), abs(y))
    if x != x or y != y or not high or low == inf:
        return nan, nan
    if high == inf:
        return unit(x, y) / inf, -unit(y, x) / inf
    if low < 1e-20 * high:  # close to an axis: the first term of the series is all there is
        if abs(x) > abs(y):
            return scaled(1.0, x, -n, 1.0, 0), scaled(-n, x, -n - 1, y, 1)
        main, rest = scaled(1.0, y, -n, 1.0, 0), scaled(n, y, -n - 1, x, 1)
        return ((main, rest), (rest, -main), (-main, -rest), (-rest, main))[n % 4]
    shift = math.frexp(high)[1]
    a, b = turned(n, math.ldexp(x, -shift), math.ldexp(y, -shift))
    return shifted(a, -n * shift), shifted(b, -n * shift)


def turned(n: int, x: float, y: float) -> tuple[float, float]:
    """Return real and imaginary part of (x + iy)^-n, where nothing can overflow."""
    radius = math.hypot(x, y)
    first = x / radius / radius, -y / radius / radius
    if n == 1:
        return first
    second = chain((x - y) / radius / radius, (x + y) / radius / radius), 2.0 * first[0] * first[1]
    a, b = first if n % 2 else second
    for _ in range((n - 1) // 2):
        a, b = a * second[0] - b * second[1], a * second[1] + b * second[0]
    return a, b


def hypot_derivative(i: float, j: float, x: float, y: float) -> float:
    """Return the derivative of hypot i times by x and j times by y, from the second order on; nan at the origin."""
    if i + j == 2.0 and 1e-100 < abs(x) < 1e100 and 1e-100 < abs(y) < 1e100:
        radius = math.hypot(x, y)
        if i == 1.0:
            return -(x / radius * (y / radius)) / radius
        x = x if j else y
        return x / radius / radius * (x / radius)
    if not (i >= 0.0 and j >= 0.0 and 2.0 <= i + j <= 100.0) or i % 1.0 or j % 1.0:
        return nan  # no derivative of such an order is ever asked for
    if abs(x) < abs(y):
        return hypot_derivative(j, i, y, x)
    if not abs(x) >= abs(y) or not x or abs(y) == inf:
        return nan
    if abs(x) == inf:
        return 0.0
    order = int(i + j)
    coefficients = hypot_coefficients(int(i), int(j))
    lowest = 0  # the power of y, which decides where y is small
    while not coefficients[lowest]:
        lowest += 1
    square_of_slope = (y / x) * (y / x)
    result = 0.0
    for k in range(order - (order - lowest) % 2, lowest - 1, -2):
        result = result * square_of_slope + coefficients[k]
    result *= math.copysign((1.0 + square_of_slope) ** (0.5 - order), x)
    return scaled(result, x, 1 - order - lowest, y, lowest)


def hypot_coefficients(i: int, j: int) -> list[float]:
    """Return c: the derivative of r = hypot(x, y), of order n = i + j, is the sum of c[k] x^(n-k) y^k / r^(2n-1)."""
    coefficients = [1.0]
    for n in range(i + j):
        grown = [0.0] * (n + 4)
        for k in range(n + 1):
            c = coefficients[k]
            if n < i:  # by x; else by y
                grown[k] += (1 - n - k) * c
                grown[k + 2] += (n - k) * c
            else:
                grown[k + 1] += (k + 1 - 2 * n) * c
                if k:
                    grown[k - 1] += k * c
        coefficients = grown[: n + 2]
    return coefficients


def scaled(factor: float, x: float, i: int, y: float, j: int) -> float:
    """Return factor * x**i * y**j: nothing overflows or underflows unless the result does."""
    (x, of_x), (y, of_y) = math.frexp(x), math.frexp(y)
    return shifted(factor * x**i * y**j, i * of_x + j * of_y)


def shifted(x: float, exponent: int) -> float:
    """Return x * 2**exponent, an infinity where that overflows."""
    x, own = math.frexp(x)
    if own + exponent > 1024:
        return math.copysign(inf, x) if x else 0.0
    return math.ldexp(x, own + exponent)


# ---- smooth steps


def sech(x: float) -> float:
    """Return 1 / cosh(x), without overflow."""
    e = math.exp(-abs(x))
    return 2.0 * e / (1.0 + e * e)


def sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(-x)), without overflow."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


def softplus(x: float) -> float:
    """Return log(1 + exp(x)), without overflow."""
    return x + math.log1p(math.exp(-x)) if x > 0.0 else math.log1p(math.exp(x))


def logsigmoid(x: float) -> float:
    """Return log(sigmoid(x)), without overflow."""
    return -softplus(-x)


def logit(p: float) -> float:
    """Return log(p / (1 - p)), the inverse of sigmoid."""
    if 0.25 < p < 0.75:  # 2 p - 1 is exact here: no cancellation near 1/2
        return 2.0 * math.atanh(2.0 * p - 1.0)
    return math.log(p) - math.log1p(-p)


def logaddexp(x: float, y: float) -> float:
    """Return log(exp(x) + exp(y)), without overflow."""
    if x == y:
        return x + LN2 + LN2_REST
    high, low = (x, y) if x > y else (y, x)
    return high + math.log1p(math.exp(low - high))


def relu(x: float) -> float:
    """Return max(0, x); nan for nan."""
    return 0.0 if x <= 0.0 else x


def leaky_relu(x: float, slope: float) -> float:
    """Return x above 0, slope * x below."""
    return x if x > 0.0 else slope * x


def leaky_step(x: float, slope: float) -> float:
    """Return 1 above 0, the slope below; at 0 the number of least magnitude between them."""
    if x:
        return 1.0 if x > 0.0 else slope if x < 0.0 else x
    return max(0.0, min(1.0, slope))


def elu(x: float, alpha: float) -> float:
    """Return x above 0, alpha * (exp(x) - 1) below."""
    return x if x > 0.0 else alpha * math.expm1(x)


def elu_slope(x: float, alpha: float) -> float:
    """Return 1 above 0, alpha * exp(x) below; at 0 the number of least magnitude between 1 and alpha."""
    if x:
        return 1.0 if x > 0.0 else alpha * math.exp(x)
    return max(0.0, min(1.0, alpha))


def elu_bend(x: float, alpha: float) -> float:
    """Return 0 from 0 upwards, alpha * exp(x) below."""
    return 0.0 if x >= 0.0 else alpha * math.exp(x)


def selu(x: float) -> float:
    """Return elu scaled so that layers keep mean 0 and variance 1."""
    return SELU_SCALE * x if x > 0.0 else SELU_SCALE * (SELU_ALPHA * math.expm1(x))


def normal_cdf(x: float) -> float:
    """Return the probability that a standard normal variable is below x."""
    return 0.5 * math.erfc(-x / SQRT2)


def normal_pdf(x: float) -> float:
    """Return the density of the standard normal distribution."""
    return INV_SQRT_2PI * math.exp(-0.5 * x * x)


def gelu(x: float) -> float:
    """Return x times the standard normal cumulative distribution."""
    return chain(x, normal_cdf(x))


def gelu_tanh(x: float) -> float:
    """Return the tanh approximation of gelu."""
    return chain(x, sigmoid(x * (GELU_C1 + GELU_C3 * x * x)))


def silu(x: float) -> float:
    """Return x * sigmoid(x)."""
    return chain(x, sigmoid(x))


def softsign(x: float) -> float:
    """Return x / (1 + |x|)."""
    return math.copysign(1.0, x) if abs(x) == inf else x / (1.0 + abs(x))


def mish(x: float) -> float:
    """Return x * tanh(softplus(x))."""
    return chain(x, math.tanh(softplus(x)))


# ---- special functions


def sinpi(x: float, quarters: int = 0) -> float:
    """Return sin(pi x) after some quarter turns more, reduced exactly."""
    r = math.fmod(x, 2.0)
    n = round(2.0 * r)
    t = pi * (r - 0.5 * n)  # exact difference: r and n / 2 are close
    return (math.sin(t), math.cos(t), -math.sin(t), -math.cos(t))[(n + quarters) % 4]


def gamma_derivative(order: float, x: float) -> float:
    """Return the derivative of that order of gamma: gamma times a polynomial in digamma and its derivatives."""
    slopes = [polygamma(float(k), x) for k in range(int(order))]
    bell = [1.0]  # the complete Bell polynomials of the slopes
    for n in range(int(order)):
        bell.append(sum(math.comb(n, k) * bell[n - k] * slopes[k] for k in range(n + 1)))
    return times_gamma(bell[-1], x)


def times_gamma(factor: float, x: float) -> float:
    """Return factor * gamma(x), also where gamma(x) alone is too small for a float of full accuracy."""
    value = math.gamma(x)
    if abs(value) > 1e-290 or not x > -300.0:
        return factor * value
    while x < -150.0:  # gamma(x) = gamma(x + 1) / x, and x + 1 is exact
        factor /= x
        x += 1.0
    return factor * math.gamma(x)


def sinc(order: float, x: float) -> float:
    """Return the derivative of that order of sin(pi x) / (pi x).

    In y = pi x the derivatives f_n of sin(y) / y follow y f_n + n f_(n-1) = sin(y + n pi / 2),
    used upwards where |y| is at least n; nearer to 0 the power series converges fast.
    """
    n, y = int(order), pi * x
    if n % 2 and 0.0 < abs(y) < 1e-290:  # the first term is all there is, and y may be too small to keep its digits
        return (1.0 if n % 4 == 3 else -1.0) * pi ** (n + 1) / (n + 2.0) * x
    if abs(y) > max(1.0, n + 1.0):
        value = sinpi(x) / y
        for k in range(1, n + 1):
            value = (sinpi(x, k) - k * value) / y
        return value * pi**n
    first = n + n % 2
    terms: list[float] = []
    term = math.factorial(first) / math.factorial(first - n) / math.factorial(first + 1) * y ** (first - n)
    k = first
    if (first // 2) % 2:
        term = -term
    while abs(term) > 1e-18 * abs(sum(terms)) or len(terms) < 3:
        terms.append(term)
        term *= -y * y * (k + 1.0) * (k + 2.0) / ((k + 1.0 - n) * (k + 2.0 - n) * (k + 2.0) * (k + 3.0))
        k += 2
        if term == 0.0:
            break
    return math.fsum(terms) * pi**n


# The Taylor series of digamma about its positive root, from the first power on: psi_k(root) / k!.
DIGAMMA_ROOT = (1.4616321449683622, 9.549995429965697e-17)  # their sum
DIGAMMA_SERIES = (
    0.9676722454476212, -0.4427631689835921, 0.258499760955651, -0.16394270544240652, 0.10782405069126237,
    -0.07219956125645471, 0.04880428816414311, -0.03316112647484736, 0.022597648232218104, -0.01542476590494896,
    0.010538791616612175, -0.007204534386356869, 0.004926781395729853, -0.003369801655439328,
)  # fmt: skip
# Coefficients B_2k of the asymptotic series: Abramowitz and Stegun 6.3.18 and 6.4.11.
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)


HIGH_ORDER = 20  # from which factorials and powers leave the range of floats before polygamma does


def cot_derivative(order: int, x: float) -> float:
    """Return the derivative of that order of pi cot(pi x), a polynomial in the cotangent."""
    distance = x - round(x)  # from a pole
    if abs(distance) <= 0.25:
        cot = 1.0 / math.tan(pi * distance)
    else:  # near the zeros between the poles, which no multiple of pi hits in floats
        cot = math.copysign(math.tan(pi * (0.5 - abs(distance))), distance)
    powers = [0.0, 1.0]  # c
    for _ in range(order):  # d/dx c^k = -k (c^(k-1) + c^(k+1)), times pi
        grown = [0.0] * (len(powers) + 1)
        for k, coefficient in enumerate(powers):
            if k and coefficient:
                grown[k - 1] -= k * coefficient
                grown[k + 1] -= k * coefficient
        powers = grown
    return pi ** (order + 1) * sum(c * ieee_pow(cot, float(k)) for k, c in enumerate(powers) if c)


def polygamma(order: float, x: float) -> float:
    """Return the derivative of that order of digamma, the logarithmic derivative of gamma."""
    n = int(order)
    if n != order or n < 0:
        raise ValueError("the order of polygamma must be a whole number from 0 upwards")
    if n > 1000:
        raise ValueError("the order of polygamma must be at most 1000")
    if x != x or x == inf:
        return x if x != x or n == 0 else 0.0
    if x == -inf:
        return nan
    if x <= 0.0:
        if x == math.floor(x):
            raise ValueError("math domain error")
        poles = sum_over_poles(n, x) if n >= HIGH_ORDER else cot_derivative(n, x)
        mirrored = 0.0 if abs(poles) == inf else polygamma(order, 1.0 - x)  # no pole is as close to 1 - x
        return (mirrored if n % 2 == 0 else -mirrored) - poles
    if n >= HIGH_ORDER or (n and x > 1e10):
        return polygamma_scaled(n, x)
    if n == 0 and abs(x - DIGAMMA_ROOT[0]) < 0.08:
        return digamma_near_root(x)
    terms = []
    sign = 1.0 if n % 2 else -1.0
    factor = math.factorial(n)
    while x < 15.0 + n:  # psi_n(x) = psi_n(x + 1) + (-1)^(n+1) n! / x^(n+1)
        terms.append(sign * factor * ieee_pow(x, -n - 1.0))
        x += 1.0
    r = 1.0 / x
    if n == 0:
        terms += [math.log(x), -0.5 * r]
        terms += [-b / (2 * k) * r ** (2 * k) for k, b in enumerate(BERNOULLI, 1)]
    else:
        terms += [sign * math.factorial(n - 1) * r**n, sign * 0.5 * factor * r ** (n + 1)]
        for k, b in enumerate(BERNOULLI, 1):
            terms.append(sign * b * (math.factorial(2 * k + n - 1) / math.factorial(2 * k)) * r ** (2 * k + n))
    return math.fsum(terms) if max(map(abs, terms)) < inf else sum(terms)


def polygamma_scaled(n: int, x: float) -> float:
    """Return polygamma for x > 0 as n! / x^(n+1) times a sum that starts with 1: neither need be in range alone."""
    steps = max(0, math.ceil(15.0 + n - x))
    z = x + steps
    terms = [(x / (x + k)) ** (n + 1) for k in range(steps)]
    tail, factor = z / n + 0.5, 1.0 / z
    for k, b in enumerate(BERNOULLI, 1):  # factor is (n + 2k - 1)! / n! / (2k)! / z^(2k - 1)
        factor *= ((n + 2 * k - 2) if k > 1 else 1.0) * (n + 2 * k - 1) / (2 * k * (2 * k - 1))
        tail += b * factor
        factor /= z * z
    terms.append((x / z) ** (n + 1) * tail)
    value = times_factorial(math.fsum(terms), n, x)
    return value if n % 2 else -value


def sum_over_poles(n: int, x: float) -> float:
    """Return the derivative of order n of pi cot(pi x): the sum of (-1)^n n! / (x + k)^(n+1) over all whole k."""
    distance = x - round(x)
    size = abs(distance)
    result = 0.0
    for k in (2, 1, 0):  # in pairs that cancel half way between two poles
        result += (size / (size + k)) ** (n + 1) + (size / (size - k - 1.0)) ** (n + 1)
    value = times_factorial(result, n, distance)
    return -value if n % 2 else value


def times_factorial(factor: float, n: int, x: float) -> float:
    """Return factor * n! / x^(n+1), where n! and the power may be far out of range."""
    x, of_x = math.frexp(x)
    result, exponent = factor / x, -of_x
    for k in range(1, n + 1):
        result, own = math.frexp(result * k / x)
        exponent += own - of_x
    return shifted(result, exponent)


def digamma(x: float) -> float:
    """Return the derivative of log(gamma(x))."""
    return polygamma(0.0, x)


def digamma_near_root(x: float) -> float:
    """Return digamma within 0.08 of its positive root, where the usual formula cancels."""
    distance = x - DIGAMMA_ROOT[0] - DIGAMMA_ROOT[1]
    result = 0.0
    for coefficient in reversed(DIGAMMA_SERIES):
        result = (result + coefficient) * distance
    return result


# ---- kernels: many arguments, added from left to right


def total(*xs: float) -> float:
    """Add the arguments from left to right."""
    result = xs[0] if xs else 0.0
    for x in xs[1:]:
        result += x
    return result


def weighted_sum(ws: Sequence[float], xs: Sequence[float], b: float = -0.0) -> float:
    """Add up the products of weights and numbers from left to right, then b. To add -0.0 changes nothing."""
    result = -0.0
    for w, x in zip(ws, xs):  # noqa: B905  (to compare the lengths would take as long as eight products)
        result += w * x
    return result + b


def dot(*args: float) -> float:
    """Add up the products of the first half of the arguments with the second half."""
    return weighted_sum(args, args[len(args) // 2 :]) if args else 0.0


def affine(*args: float) -> float:
    """Add up the products of n weights and n inputs, then the last argument, the bias."""
    return weighted_sum(args, args[len(args) // 2 : -1], args[-1])


def sum_of_squares(*xs: float) -> float:
    """Add up the squares of the arguments from left to right."""
    result = xs[0] * xs[0] if xs else 0.0
    for x in xs[1:]:
        result += x * x
    return result


def logsumexp(*xs: float) -> float:
    """Return the logarithm of the sum of exponentials, without overflow."""
    high = max(xs)
    if math.isinf(high):
        return high if all(x == x for x in xs) else nan
    rest, met = 0.0, False
    for x in xs:
        if x == high and not met:
            met = True  # its exponential is the 1 of log1p
        else:
            rest += math.exp(x - high)
    return high + math.log1p(rest)


def softmax(index: float, *xs: float) -> float:
    """Return one entry of the softmax of the rest of the arguments."""
    return softmax_entries(xs)[int(index)]


def softmax_entries(xs: tuple[float, ...]) -> list[float]:
    """Return all entries of the softmax."""
    high, total = max(xs), 0.0
    powers = []
    for x in xs:
        power = math.exp(x - high)
        powers.append(power)
        total += power
    return [power / total for power in powers]


def softmax_rest(index: float, *xs: float) -> float:
    """Return 1 minus one entry of the softmax of the rest of the arguments, without cancellation."""
    chosen = int(index)
    high = max(xs)
    others = 0.0
    for i, x in enumerate(xs):
        if i != chosen:
            others += math.exp(x - high)
    return others / (others + math.exp(xs[chosen] - high))


def softmax_cross_entropy(index: float, *xs: float) -> float:
    """Return minus the logarithm of one entry of the softmax of the rest, accurate when it is close to 1."""
    chosen = int(index)
    target = xs[chosen]
    high = max(xs)
    rest = 0.0
    if target == high:
        for i, x in enumerate(xs):
            if i != chosen:
                rest += math.exp(x - high)
        return math.log1p(rest)
    for x in xs:
        rest += math.exp(x - high)
    return (high - target) + math.log(rest)
