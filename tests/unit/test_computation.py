"""Reductions of numbers: what is read from where, what comes of it, and that the number of threads does not matter."""

from __future__ import annotations

import collections
import ctypes
import enum
import math
import struct
import sys
import threading
from array import array
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from subprocesses import output_of

from dask_ferris._native import compute

KINDS = ("sum", "product", "square_sum", "heavy_computation")

NUMBERS = [3.0, 1.0, 2.0]

CONTAINERS = {
    "list": NUMBERS,
    "list of ints": [3, 1, 2],
    "tuple": (3.0, 1, 2),
    "range": range(1, 4),
    "falling range": range(3, 0, -1),
    "generator": lambda: (n for n in NUMBERS),
    "set": set(NUMBERS),
    "deque": collections.deque(NUMBERS),
    "subclass of list": type("Numbers", (list,), {})(NUMBERS),
    "Series": pd.Series(NUMBERS),
    "memoryview": memoryview(array("d", NUMBERS)),
    "strided memoryview": memoryview(array("d", [3, 0, 1, 0, 2]))[::2],
    "memoryview of bytes": memoryview(b"\3\1\2"),
    "ctypes": (ctypes.c_double * 3)(*NUMBERS),
    "strided": np.arange(12.0)[1:6:2] * 6 / 9,
    "backwards": np.array(NUMBERS)[::-1],
    "column": np.array([[3, 0], [1, 0], [2, 0]])[:, 0],
    "unaligned": np.frombuffer(b"!" + np.array(NUMBERS).tobytes(), "f8", 3, 1),
    "repeated": np.broadcast_to(np.float64(2), 3),
    "read only": np.frombuffer(np.array(NUMBERS).tobytes()),
    "objects": np.array([3, Fraction(1), Decimal(2)], object),
    "memmap": np.array(NUMBERS).view(np.memmap),
} | {f"array of {code}": array(code, [3, 1, 2]) for code in "bBhHiIlLqQfd"}

DTYPES = [order + code for order in "<>" for code in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8")]


@pytest.mark.parametrize("data", CONTAINERS.values(), ids=CONTAINERS)
def test_containers(data):
    """Numbers are read from wherever they can be had one after the other."""
    assert 6.0 == compute("sum", data() if callable(data) else data, 2)


@pytest.mark.parametrize("dtype", [*DTYPES, "i1", "u1", "g"])
def test_types_of_numpy(dtype):
    """Real numbers of any size and order of bytes, strided or not, are read as NumPy reads them."""
    numbers = np.array([1, 0, 2, 0, 40, 0, 100], dtype)
    whole = float(np.sum(numbers))

    assert [whole] * 3 == [compute("sum", some, 1) for some in (numbers, numbers[::2], list(numbers))]


def test_truth_counts_as_one():
    """True is 1 and False is 0, in a list as in an array."""
    assert [2.0, 2.0] == [compute("sum", data, 1) for data in ([True, False, True], np.array([True, False, True]))]
    assert 3.0 == compute("sum", np.array([0, 1, 2, 255], "u1").view(bool), 1)


def test_extremes_of_integers():
    """The ends of each type of integers are converted with their sign."""
    for code in "bBhHiIqQ":
        bounds = np.iinfo(code)
        for extreme in (bounds.min, bounds.max):
            assert float(extreme) == compute("sum", array(code, [extreme]), 1)


def test_half_precision():
    """Every number of 16 bits is what `struct` says, the sign of zero included."""
    every = np.arange(2**16, dtype="u2").view("f2")
    for index in range(2**16):
        (expected,) = struct.unpack("e", every[index].tobytes())
        result = compute("product", every[index : index + 1], 1)
        assert repr(expected) == repr(result)


@pytest.mark.parametrize(
    "numbers", [Decimal("0.1"), Fraction(1, 10), np.float32(0.5), np.int16(7), np.longdouble(2)], ids=type
)
def test_numbers_of_other_types(numbers):
    """What has a `__float__` is a number, with the value that this gives."""
    assert float(numbers) == compute("sum", [numbers], 1)


def test_ints_are_rounded_once():
    """A large int is rounded as by `float`, before anything is added."""
    Large = enum.IntEnum("Large", {"ODD": 2**53 + 1})  # noqa: N806  a class

    assert [float(2**53 + 1)] * 2 == [compute("sum", [odd], 1) for odd in (2**53 + 1, Large.ODD)]
    assert 2.0**64 == compute("sum", [2**63] * 2, 1)
    assert float(2**100 + 1) == compute("sum", range(2**100 + 1, 2**100 + 2), 1)
    assert -1.0 == compute("sum", [-1], 1)


@pytest.mark.parametrize(
    "data",
    ["123", b"abc", bytearray(b"abc"), np.str_("1"), np.bytes_(b"1"), None, 3, 3.0, np.float64(3), np.array(3.0)],
    ids=repr,
)
def test_what_is_no_data(data):
    """Text, bytes and what is no container at all are refused."""
    with pytest.raises(TypeError):
        compute("sum", data, 1)


def test_one_dimension():
    """An array of several dimensions is refused, and says how many it has."""
    with pytest.raises(TypeError, match="2 dimensions"):
        compute("sum", np.ones((2, 2)), 1)
    with pytest.raises(TypeError, match="element 0"):
        compute("sum", [[1.0], [2.0]], 1)


def test_a_mask_is_seen():
    """The numbers behind a mask are not counted by mistake."""
    with pytest.raises(TypeError, match="mask"):
        compute("sum", np.ma.array([1.0, 2.0], mask=[False, True]), 1)


NO_NUMBERS = [
    None,
    "1",
    b"1",
    bytearray(b"1"),
    memoryview(b"1"),
    1j,
    np.complex64(1),
    np.complex128(1),
    np.str_("1"),
    object(),
    [1],
]


@pytest.mark.parametrize("element", NO_NUMBERS, ids=lambda element: type(element).__name__)
@pytest.mark.parametrize("container", [list, tuple, iter])
def test_elements_that_are_no_real_numbers(container, element):
    """The error names the element's index and its type."""
    with pytest.raises(TypeError, match=f"element 1 is of type '{type(element).__name__}'"):
        compute("sum", container([1, element]), 1)


@pytest.mark.parametrize("dtype", ["c8", "c16", ">c16", "U3", "S3", "M8[s]", [("x", "f8")]], ids=str)
def test_arrays_of_what_is_no_number(dtype):
    """Arrays of other types are refused, not read as something else."""
    with pytest.raises(TypeError):
        compute("sum", np.zeros(2, dtype), 1)


def test_ints_beyond_floats():
    """An int that no float is near to is an overflow, and a note says where it is."""
    with pytest.raises(OverflowError) as caught:
        compute("sum", [1, 10**400], 1)
    assert any("element 1" in note for note in caught.value.__notes__)


def test_errors_of_elements_are_their_own():
    """What an element raises arrives as it is; so does what a generator raises."""
    error = KeyError("mine")

    class Raises:
        def __float__(self):
            raise error

    with pytest.raises(KeyError) as caught:
        compute("sum", [0, 1, Raises()], 1)
    assert error is caught.value
    assert any("element 2" in note for note in error.__notes__)
    with pytest.raises(KeyError) as caught:
        compute("sum", (Raises().__float__() for _ in range(1)), 1)
    assert error is caught.value


def test_a_list_that_shrinks():
    """An element that empties the list it is in ends the list, as it ends a `for`."""

    class Empties:
        def __float__(self):
            numbers.clear()
            return 2.0

    numbers = [1.0, Empties(), *[4.0] * 1000]

    assert 3.0 == compute("sum", numbers, 1)


@pytest.mark.parametrize("kind", ["mean", "Sum", "", "sum ", "'"])
def test_unknown_kinds(kind):
    """An unknown kind is named, with those that there are."""
    with pytest.raises(ValueError, match="heavy_computation") as caught:
        compute(kind, [1], 1)
    assert f"'{kind}'" in str(caught.value)
    assert all(repr(known) in str(caught.value) for known in KINDS)


def test_arguments_of_the_wrong_type():
    """A kind is a string, and there is at least one thread."""
    with pytest.raises(TypeError):
        compute(3, [1], 1)
    with pytest.raises(ValueError, match="zero"):
        compute("sum", [1], 0)


@pytest.mark.parametrize("data", [[], (), range(0), np.array([]), iter([])], ids=type)
def test_nothing(data):
    """Of nothing, the product is 1 and all else is 0, without a sign."""
    assert "0.0" == repr(compute("sum", data, 1))
    assert ["1.0", "0.0", "0.0"] == [repr(compute(kind, data, 4)) for kind in KINDS[1:]]


def test_infinities_and_nan():
    """They have the effect that IEEE 754 gives them."""
    inf, nan = math.inf, math.nan

    assert [inf] * 3 == [compute(kind, [1, inf, 2], 1) for kind in KINDS[:3]]
    assert -inf == compute("sum", [1e308, -inf, 1e308], 1)
    assert all(math.isnan(compute(kind, [1, nan, inf], 1)) for kind in KINDS)
    assert math.isnan(compute("sum", [inf, 1, -inf], 1))
    assert math.isnan(compute("product", [0, inf], 1))
    assert all(math.isnan(compute("heavy_computation", [1, x], 1)) for x in (inf, -inf, 1e300))


def test_sums():
    """Sums are rounded once."""
    assert [6.0, 1.0, 1.0] == [compute("sum", some, 1) for some in ([1, 2, 3], [0.1] * 10, [1e16, 1, -1e16])]
    assert [338350.0, math.inf] == [compute("square_sum", some, 1) for some in (range(1, 101), [1e200])]
    assert float((2**31 + 1) ** 2) == compute("square_sum", [2**31 + 1], 1)
    assert 1e308 == compute("sum", [1e308, 1e308, -1e308], 1)


def test_products():
    """Products overflow, underflow and keep the sign of zero; but nothing overflows on the way."""
    assert 9.332621544394418e157 == pytest.approx(compute("product", range(1, 101), 1), rel=1e-12)
    assert [math.inf] * 2 == [compute("product", some, 1) for some in (range(1, 201), [1e200] * 2)]
    assert "-0.0" == repr(compute("product", [0.0, -1.0], 1))
    assert 0.0 == compute("product", [1e-200] * 2, 1)
    assert 1.0 == pytest.approx(compute("product", [1e300, 1e-300] * 1000, 1), rel=1e-12)
    assert 5e-324 == compute("product", [5e-324, 1.0], 1)


def heavy(x):
    """Return the value of one element, as the definition says it."""
    total = 0.0
    for i in range(100_000):
        for j in range(10):
            total += (i * j) * x
    return math.fmod(total, 1e6)


@pytest.mark.parametrize("x", [0.1, 1 / 3, -math.pi, 123456.789, 2.0**40, 1e-300])
def test_heavy_computation(x):
    """Every bit is that of the definition, whatever stands beside it."""
    assert heavy(x) == compute("heavy_computation", [x], 1)
    assert heavy(x) == compute("heavy_computation", [0.0] * 40 + [x], 2)


def test_heavy_computation_of_whole_numbers():
    """Nothing is rounded, so the values are known."""
    assert [750000, 500000, 250000, 0] == [compute("heavy_computation", [n], 1) for n in (1, 2, 3, 4)]
    assert [37.5e6, 75e6] == [compute("heavy_computation", range(1, n), 2) for n in (101, 201)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_on_any_number_of_threads(kind, rng):
    """How many threads compute changes no bit of the result, and neither does where the numbers are."""
    numbers = [rng.uniform(-1, 1) * 10 ** rng.randrange(9) for _ in range(100 if kind == KINDS[3] else 400_000)]
    every = (numbers, tuple(numbers), np.array(numbers), np.repeat(numbers, 2)[::2], array("d", numbers))

    assert 1 == len({compute(kind, data, n_threads) for data in every for n_threads in (1, 2, 3, 4, 8) * 2})


def assert_close(expected, result, numbers):
    """Compare a sum with the exact one: half a unit in the last place, and more only where nearly all cancels."""
    magnitudes = math.fsum(map(abs, numbers))
    assert abs(expected - result) <= math.ulp(expected) + len(numbers) ** 2 * 2.0**-106 * magnitudes


@given(st.lists(st.floats(-1e300, 1e300)), st.integers(1, 3))
def test_sums_of_random_numbers(numbers, n_threads):
    """The sum is that of `math.fsum`."""
    assert_close(math.fsum(numbers), compute("sum", numbers, n_threads), numbers)


@given(st.lists(st.floats(-1e140, 1e140) | st.integers(-(2**70), 2**70)), st.integers(1, 3))
def test_square_sums_of_random_numbers(numbers, n_threads):
    """The sum of squares is the exact one."""
    squares = [Fraction(float(number)) ** 2 for number in numbers]
    expected, tiny = float(sum(squares)), 2.0**-1000

    assert abs(expected - compute("square_sum", numbers, n_threads)) <= math.ulp(expected) + tiny


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=60))
def test_products_of_random_numbers(numbers):
    """The product is the exact one, but for one rounding a factor; sizes on the way do not matter."""
    product = math.prod(map(Fraction, numbers))
    result = compute("product", numbers, 1)
    if math.isinf(result):
        assert (product > 0, True) == (result > 0, abs(product) > sys.float_info.max)
    else:
        assert abs(product - Fraction(result)) <= abs(product) * len(numbers) * Fraction(1, 2**52) + Fraction(5e-324)


def test_other_threads_run_meanwhile():
    """The GIL is let go: a thread that wants it gets it while numbers are computed, and at no other time."""
    seen, gate = [], threading.Lock()
    gate.acquire()
    thread = threading.Thread(target=lambda: (gate.acquire(), seen.append(1)))
    interval = sys.getswitchinterval()
    thread.start()
    try:
        sys.setswitchinterval(1000)
        gate.release()
        while not seen:
            compute("heavy_computation", range(100), 1)
    finally:
        sys.setswitchinterval(interval)
    thread.join()


def test_the_interpreter_ends_meanwhile():
    """A daemon thread that computes does not keep the interpreter from ending, nor disturb it."""
    program = """
        import threading
        from dask_ferris._native import compute

        begun = threading.Event()

        class Begins:
            def __float__(self):
                begun.set()
                return 1.0

        def work():
            compute("heavy_computation", [Begins(), *range(5000)], 2)

        threading.Thread(target=work, daemon=True).start()
        begun.wait()
        print("end")
    """
    assert ["end"] == output_of(program)
