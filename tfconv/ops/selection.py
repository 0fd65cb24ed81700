"""Which form computes what: tables of workloads, read from top to bottom.

The first row whose bounds hold a workload decides. What each row is worth was
measured, and can be again: `python -m benchmarks.forms measure`, then `report`.
`tfconv.ops.explain` tells which row decides for a shape.
"""

import contextlib
import contextvars
import dataclasses
import enum
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from tfconv.ops.tracing import setting


class Form(enum.Enum):
    """A way to compute a convolution, or a part of it."""

    NATIVE = "TensorFlow's op"
    PARTS = "outputs and gradients each in a form of their own"
    REPEATED = "TensorFlow's op on channels that are repeated"
    SEGMENTS = "distant segments of the signal as channels"
    ROWS = "the phases of a stride as channels"
    WIDTH = "the phases of a stride or a dilation as the width of an image"
    HEIGHT = "TensorFlow's op with time as the height of an image"
    TAPS = "the sum over the taps of shifted inputs"
    CUT = "the same, where windows reach out of the inputs apart"
    PRODUCTS = "products of rows, as long as the stride, with matrices"


@dataclasses.dataclass(frozen=True)
class Workload:
    """A convolution, as far as its speed depends on it.

    Attributes:
        taps: int.
        channels: int, of the inputs.
        multiplier: int, outputs for each channel.
        stride: int.
        dilation: int.
        batch: int, or `None` where it is not known when tracing.
        steps: int, time steps of the inputs, or `None` likewise.
    """

    taps: int
    channels: int
    multiplier: int = 1
    stride: int = 1
    dilation: int = 1
    batch: int | None = None
    steps: int | None = None

    @classmethod
    def of(cls, inputs, kernel_shape, stride=1, dilation=1) -> "Workload":
        """A tensor or a shape `(b, t, c)` with a kernel `(k, _, m)`."""
        batch, steps, channels = getattr(inputs, "shape", inputs)
        taps, _, multiplier = kernel_shape
        return cls(taps, channels, multiplier, stride, dilation, batch, steps)

    @property
    def elements(self) -> int | None:
        """Elements of the inputs; `None` if not known."""
        if self.batch is None or self.steps is None:
            return None
        return self.batch * self.steps * self.channels

    @property
    def spans(self) -> int | None:
        """How many times a window fits into the inputs; `None` likewise."""
        if self.steps is None:
            return None
        return self.steps // (self.dilation * (self.taps - 1) + 1)


_ANY = (0, 10**9)


@dataclasses.dataclass(frozen=True)
class Row:
    """A form, why, and the bounds, inclusive, within which it is the choice.

    Where the batch or the time steps are unknown when tracing, as in
    `model.fit`, a row with bounds on what follows from them fits only with
    `also_unknown=True`.
    """

    form: Form
    reason: str
    taps: tuple[int, int] = _ANY
    channels: tuple[int, int] = _ANY
    multiplier: tuple[int, int] = _ANY
    stride: tuple[int, int] = _ANY
    dilation: tuple[int, int] = _ANY
    elements: tuple[int, int] = _ANY
    spans: tuple[int, int] = _ANY
    also_unknown: bool = False

    def fits(self, work: Workload) -> bool:
        """Tells whether a workload is within all the bounds."""
        for name in _BOUNDED:
            (low, high), value = getattr(self, name), getattr(work, name)
            if value is None and not self.also_unknown and (low, high) != _ANY:
                return False
            if value is not None and not low <= value <= high:
                return False
        return True


_BOUNDED = tuple(
    field.name for field in dataclasses.fields(Row) if field.default == _ANY
)


def _from(low: int) -> tuple[int, int]:
    return low, _ANY[1]


_TWICE = {"multiplier": _from(2)}
_ONCE = {"multiplier": (1, 1)}

# fmt: off
TABLES: dict[str, tuple[Row, ...]] = {
    # Eager mode, plain graphs: the native op's gradient of a kernel has cliffs,
    # and it is slow for few channels, for multipliers and for dilation.
    "graph": (
        Row(Form.NATIVE, "little to do: eager mode feels every operation; an unknown batch is not little", elements=(0, 5_000)),
        Row(Form.PARTS, "dilated", dilation=_from(2)),
        Row(Form.PARTS, "multiplied, long", taps=_from(20), stride=(1, 8), **_TWICE),
        Row(Form.PARTS, "multiplied, many channels", channels=_from(12), stride=(1, 1), **_TWICE),
        Row(Form.PARTS, "some channels", taps=_from(5), channels=_from(9)),
        Row(Form.PARTS, "much to do; an unknown batch is much", taps=_from(7), stride=(1, 8), elements=_from(100_000), also_unknown=True, **_ONCE),
        Row(Form.PARTS, "long", taps=_from(31), stride=(1, 1), **_ONCE),
        Row(Form.NATIVE, "short, or a long stride"),
    ),
    "graph y": (
        Row(Form.REPEATED, "long", taps=_from(10), **_TWICE),
        Row(Form.REPEATED, "two each", multiplier=(2, 2), channels=_from(5)),
        Row(Form.REPEATED, "four each of many", multiplier=(4, 4), channels=_from(64), stride=(1, 1)),
        Row(Form.SEGMENTS, "few channels, long", taps=_from(12), channels=(1, 4), stride=(1, 1), **_ONCE),
        Row(Form.NATIVE, "as fast as a copy"),
    ),
    "graph dw": (
        Row(Form.WIDTH, "strided, some channels", stride=(2, 3), channels=_from(8)),
        Row(Form.ROWS, "strided, long", taps=_from(15), stride=_from(2)),
        Row(Form.NATIVE, "strided", stride=_from(2)),
        Row(Form.WIDTH, "dilated, many channels", dilation=_from(2), channels=_from(64)),
        Row(Form.NATIVE, "few channels, short", channels=(3, 5), taps=(1, 9)),
        Row(Form.SEGMENTS, "few channels", channels=(1, 5)),
        Row(Form.HEIGHT, "the op's fast direction"),
    ),
    # XLA on CPU, where the native op is slow, and loops fuse.
    "xla": (
        Row(Form.PRODUCTS, "one channel, long stride", channels=(1, 1), stride=_from(16)),
        Row(Form.TAPS, "one loop"),
    ),
    "xla y": (
        Row(Form.CUT, "padding would be a copy for few windows", spans=_from(30)),
        Row(Form.TAPS, "one loop"),
    ),
}
# fmt: on


@dataclasses.dataclass(frozen=True)
class Choice:
    """One look into a table.

    Attributes:
        table: string, its key in `TABLES`.
        work: the workload.
        form: what was chosen.
        row: the row that decided; `None` if the form was forced.
        possible: the forms that can run there.
        part: string, `"y"`, `"dx"` or `"dw"`: what is to be computed. The whole
            operation is chosen for when y is.
    """

    table: str
    work: Workload
    form: Form
    row: Row | None
    possible: tuple[Form, ...]
    part: str

    @property
    def why(self) -> str:
        """The row that decided, in words."""
        if self.row is None:
            return "forced"
        number = TABLES[self.table].index(self.row) + 1
        return f"{self.row.reason}: row {number} of {self.table!r}"


_forced = contextvars.ContextVar("tfconv_forced", default=None)
_record = contextvars.ContextVar("tfconv_record", default=None)
_part = contextvars.ContextVar("tfconv_part", default="y")


def choose(table: str, work: Workload, possible: Iterable[Form]) -> Form:
    """The form for a workload.

    Args:
        table: string, a key of `TABLES`.
        work: the workload.
        possible: the forms that can run here; rows of others do not fit.

    Returns:
        The form of the first row that fits, or the one that is forced.
    """
    possible = tuple(possible)
    rows = (row for row in TABLES[table] if row.form in possible)
    row = next(row for row in rows if row.fits(work))
    form = row.form
    for other in (_forced.get() or {}).get(table, ()):
        if other in possible:
            row, form = None, other
            break
    record = _record.get()
    if record is not None:
        record.append(Choice(table, work, form, row, possible, _part.get()))
    return form


def computing(part: str) -> contextlib.AbstractContextManager:
    """Marks the choices made inside as those for `"dx"` or `"dw"`."""
    return setting(_part, part)


def forcing(
    forms: Mapping[str, Sequence[Form]],
) -> contextlib.AbstractContextManager:
    """Chooses forms by hand in what is traced inside, to measure and test them.

    Args:
        forms: from a key of `TABLES` to forms, the first of which that can run
            is taken. Where none can, and for other tables, the table decides.
    """
    return setting(_forced, forms)


def recording() -> contextlib.AbstractContextManager[list[Choice]]:
    """Keeps every choice that is made in what is traced inside."""
    return setting(_record, [])
