"""The tables of forms are sound, and every form of them computes the same."""

import itertools

import pytest
import tensorflow as tf

import tfconv
from tests.tfconv.ops.differentiation import check
from tests.tfconv.ops.differentiation import forward_and_gradients
from tests.tfconv.ops.grid import Case
from tfconv import ops
from tfconv.ops import selection
from tfconv.ops import tracing
from tfconv.ops.selection import TABLES
from tfconv.ops.selection import Form
from tfconv.ops.selection import Row
from tfconv.ops.selection import Workload

GRID = [
    Workload(taps, channels, multiplier, stride, dilation, batch, steps)
    for taps, channels, multiplier, (stride, dilation), batch, steps in (
        itertools.product(
            (1, 3, 5, 9, 12, 17, 31, 64),
            (1, 2, 3, 5, 8, 9, 12, 40, 64, 256),
            (1, 2, 4),
            ((1, 1), (2, 1), (4, 1), (16, 1), (1, 2)),
            (None, 1, 32),
            (None, 40, 4000),
        )
    )
]

# What each form needs to run at all.
LONG = Case(9, channels=3, steps=120, batch=3)
SEVERAL = Case(9, channels=3, multiplier=2, steps=40, padding="causal")
STRIDED = Case(9, channels=3, steps=41, strides=2)
DILATED = Case(5, channels=3, steps=40, dilation_rate=3)
CASES = {
    ("graph", Form.NATIVE): [LONG, SEVERAL, STRIDED, DILATED],
    ("graph", Form.PARTS): [LONG, SEVERAL, STRIDED, DILATED],
    ("graph y", Form.NATIVE): [LONG, SEVERAL, STRIDED, DILATED],
    ("graph y", Form.REPEATED): [
        SEVERAL,
        Case(9, multiplier=4, steps=40),
        Case(5, multiplier=3, steps=40, dilation_rate=2),
    ],
    ("graph y", Form.SEGMENTS): [
        LONG,
        Case(9, channels=1, steps=103, padding="causal"),
        Case(9, channels=2, steps=103, padding="valid"),
    ],
    ("graph dw", Form.NATIVE): [LONG, SEVERAL, STRIDED, DILATED],
    ("graph dw", Form.HEIGHT): [
        LONG,
        SEVERAL,
        DILATED,
        Case(9, steps=5, padding="causal"),
    ],
    ("graph dw", Form.SEGMENTS): [LONG, Case(5, steps=90, dilation_rate=2)],
    ("graph dw", Form.WIDTH): [
        STRIDED,
        DILATED,
        Case(6, steps=30, strides=4, padding="causal"),
    ],
    ("graph dw", Form.ROWS): [
        STRIDED,
        Case(6, steps=30, strides=4, padding="valid", multiplier=2),
    ],
    ("xla", Form.TAPS): [LONG, SEVERAL, STRIDED, DILATED],
    ("xla", Form.PRODUCTS): [
        Case(9, channels=1, steps=41, strides=4),
        Case(4, channels=1, multiplier=3, steps=33, strides=5),
        Case(9, channels=1, multiplier=2, steps=33, padding="causal"),
        Case(11, channels=1, steps=33, strides=3, padding="valid"),
    ],
    ("xla y", Form.TAPS): [LONG, DILATED],
    ("xla y", Form.CUT): [
        LONG,
        STRIDED,
        DILATED,
        Case(4, steps=20, padding="causal", multiplier=2),
    ],
}


def test_every_form_of_every_table_is_among_the_cases():
    in_tables = {
        (table, row.form) for table, rows in TABLES.items() for row in rows
    }
    assert in_tables <= set(CASES)


@pytest.mark.parametrize(
    ("table", "form"), CASES, ids=lambda each: getattr(each, "name", each)
)
def test_form_that_is_forced_computes_what_it_must(table, form):
    jit = table.startswith("xla")
    forced = {"graph": [Form.PARTS], "xla": [Form.TAPS]} | {table: [form]}
    cases = CASES[table, form]

    def run(operands):
        found = []
        for case, (x, w, dy) in zip(cases, operands, strict=True):
            with selection.recording() as choices:
                found.append(
                    forward_and_gradients(
                        lambda x, w, case=case: tfconv.depthwise_conv1d(
                            x, w, **case.window
                        )
                    )(x, w, dy)
                )
            drawn.append((table, form) in {(c.table, c.form) for c in choices})
        return found

    drawn = []
    operands = [tuple(map(tf.constant, case.operands())) for case in cases]
    with selection.forcing(forced):
        found = tf.function(run, jit_compile=jit, autograph=False)(operands)
    assert all(drawn)
    for case, each in zip(cases, found, strict=True):
        check(case, each)


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_the_first_that_fits_somewhere(table):
    rows = TABLES[table]
    reached = {
        next(i for i, row in enumerate(rows) if row.fits(work)) for work in GRID
    }
    assert reached == set(range(len(rows)))


def test_there_are_at_most_30_rows():
    assert sum(len(rows) for rows in TABLES.values()) <= 30


def test_bounds_are_inclusive():
    row = Row(Form.ROWS, "", taps=(3, 5))
    fits = [row.fits(Workload(taps, channels=1)) for taps in range(1, 8)]
    assert fits == [False, False, True, True, True, False, False]


@pytest.mark.parametrize("also_unknown", [False, True])
def test_bounds_on_what_is_unknown_say_whether_they_hold(also_unknown):
    row = Row(Form.ROWS, "", elements=(0, 9), also_unknown=also_unknown)
    assert row.fits(Workload(3, 1, batch=3, steps=3))
    assert not row.fits(Workload(3, 1, batch=4, steps=3))
    assert row.fits(Workload(3, 1, batch=4)) == also_unknown
    assert row.fits(Workload(3, 1, steps=4)) == also_unknown


def test_rows_of_forms_that_cannot_run_do_not_fit():
    work = Workload(31, 1)
    assert selection.choose("graph dw", work, [Form.SEGMENTS, Form.HEIGHT]) is (
        Form.SEGMENTS
    )
    assert selection.choose("graph dw", work, [Form.HEIGHT]) is Form.HEIGHT


@pytest.mark.parametrize("kind", ["GPU", "TPU"])
def test_accelerators_run_the_op_of_tensorflow(kind, monkeypatch):
    devices = tf.config.get_visible_devices

    def visible(device_type=None):
        fake = tf.config.PhysicalDevice(f"/physical_device:{kind}:0", kind)
        return [fake] if device_type == kind else devices(device_type)

    monkeypatch.setattr(tf.config, "get_visible_devices", visible)
    assert tracing.has_accelerator()
    for jit in (False, True):
        case = Case(31, channels=16, multiplier=2, steps=200, batch=32)

        @tf.function(jit_compile=jit, autograph=False)
        def convolve(x, w, case=case):
            return tfconv.depthwise_conv1d(x, w, **case.window)

        with selection.recording() as choices:
            graph = convolve.get_concrete_function(
                *(tf.TensorSpec(each.shape) for each in case.operands()[:2])
            ).graph
        types = [operation.type for operation in graph.get_operations()]
        assert types.count("DepthwiseConv2dNative") == 1
        assert not choices
        told = ops.explain((32, 200, 16), (31, 16, 2), jit=jit)
        assert told.lowering == "accelerator"
        assert "TensorFlow's op" in str(told)


def test_explain_tells_form_and_row_of_each_part():
    told = ops.explain((32, 98, 64), (9, 64, 1), padding="same")
    assert told.lowering == "graph"
    assert [choice.form for choice in told.y] == [Form.PARTS, Form.NATIVE]
    assert [choice.form for choice in told.dx] == [Form.NATIVE]
    assert [choice.form for choice in told.dw] == [Form.HEIGHT]
    for choice in (*told.y, *told.dx, *told.dw):
        assert choice.row in TABLES[choice.table]
        assert choice.row.reason in str(told)


def test_explain_of_a_short_kernel_is_one_line_for_each_part():
    told = ops.explain((32, 98, 64), (3, 64, 1))
    assert [choice.form for choice in told.y] == [Form.NATIVE]
    assert not told.dx and not told.dw
    assert str(told).count(Form.NATIVE.value) == 3


def test_explain_under_jit_and_of_unknown_sizes():
    told = ops.explain((None, None, 3), (9, 3, 2), strides=2, jit=True)
    assert told.lowering == "xla"
    assert [choice.table for choice in told.y] == ["xla", "xla y"]
    assert not told.dx
    assert "blocks of frames" in str(told)


def test_explain_refuses_what_the_operation_refuses():
    with pytest.raises(ValueError, match="channels"):
        ops.explain((32, 98, 64), (9, 63, 1))
