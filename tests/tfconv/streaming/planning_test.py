"""What a plan says, and what it refuses by name."""

import keras
import numpy as np
import pytest

import tfconv
from tests.tfconv.streaming.whole_windows import assert_equal_to_windows

LAYERS = keras.layers


def network(*layers, shape=(48, 6)):
    return keras.Sequential([keras.Input(shape), *layers], name="network")


def residual_network():
    inputs = keras.Input((49, 6))
    x = tfconv.SeparableConv1D(8, 5, strides=2, name="halve")(inputs)
    x = LAYERS.ReLU(name="rectify")(x)
    y = tfconv.DepthwiseConv1D(
        3, dilation_rate=2, depth_multiplier=2, name="filter"
    )(x)
    y = LAYERS.Conv1D(8, 1, groups=2, name="mix")(y)
    x = LAYERS.Add(name="add")([LAYERS.Cropping1D((2, 2), name="wait")(x), y])
    x = LAYERS.Flatten(name="flatten")(x)
    return keras.Model(inputs, LAYERS.Dense(3, name="classify")(x))


def by_name(plan):
    return {call.name: call for call in plan.calls}


def test_ring_buffers_have_the_frames_that_are_looked_back_on():
    # 23 frames after the first layer, 19 after the second.
    plan = tfconv.streaming.plan(residual_network(), 2)
    assert {state.name: state.shape for state in plan.states} == {
        "halve": (3, 6),
        "filter": (4, 8),
        "wait": (2, 8),
        "flatten": (18, 8),
    }
    assert {state.dtype for state in plan.states} == {"float32"}
    assert plan.state_bytes == 4 * (18 + 32 + 16 + 144)


@pytest.mark.parametrize("window, ring", [(48, 4), (49, 3), (50, 4)])
def test_the_windows_length_counts_where_it_leaves_frames_unused(window, ring):
    model = network(
        tfconv.SeparableConv1D(8, 5, strides=2),
        LAYERS.GlobalAveragePooling1D(),
        shape=(window, 6),
    )
    plan = assert_equal_to_windows(model, 2)
    assert plan.states[0].shape == (ring, 6)
    assert plan.delay == ring - 3


def test_multiply_accumulates_are_those_counted_by_hand():
    plan = tfconv.streaming.plan(residual_network(), 4)
    # Outputs per hop, and in a window, times products per output.
    products = {
        "halve": (2, 23, 5 * 6 + 6 * 8),
        "filter": (2, 19, 3 * 8 * 2),
        "mix": (2, 19, 16 // 2 * 8),
        "classify": (1, 1, 19 * 8 * 3),
    }
    calls = by_name(plan)
    for name, (hop, window, each) in products.items():
        assert calls[name].macs_per_hop == hop * each
        assert calls[name].macs_per_window == window * each
    assert plan.macs_per_hop == sum(h * e for h, _, e in products.values())
    assert plan.macs_per_window == sum(w * e for _, w, e in products.values())


def test_products_of_unknown_layers_are_not_taken_for_none():
    plan = tfconv.streaming.plan(network(LAYERS.GRU(3)), 4, fallback="buffer")
    assert plan.calls[0].macs_per_hop is None
    assert "?" in str(plan)


def test_delays_add_up_in_input_frames():
    plan = tfconv.streaming.plan(residual_network(), 2)
    assert by_name(plan)["wait"].delay == 2
    # Two frames of stride 2.
    assert plan.delay == 4


def test_it_prints_as_a_table_of_all_calls_and_totals():
    plan = tfconv.streaming.plan(residual_network(), 2)
    lines = str(plan).splitlines()
    cells = {line.split()[0]: line for line in lines[2:] if line}
    for call in plan.calls:
        assert call.kind in cells[call.name]
    assert "2 of 49" in cells["total"]
    assert f"{plan.macs_per_window:,}" in cells["total"]
    assert "4x8" in cells["filter"]
    assert "all -> all" in cells["classify"]
    assert max(map(len, lines)) < 100


def test_calls_of_one_layer_and_of_nested_models_have_names_of_their_own():
    convolution = tfconv.SeparableConv1D(6, 3, name="convolve")
    inner = network(convolution, convolution, shape=(None, 6))
    inputs = keras.Input((20, 6))
    model = keras.Model(inputs, inner(inner(inputs)))
    plan = assert_equal_to_windows(model, 2)
    assert [state.name for state in plan.states] == [
        "network/convolve",
        "network/convolve#2",
        "network#2/convolve",
        "network#2/convolve#2",
    ]


@pytest.mark.parametrize(
    "layer",
    [
        tfconv.SeparableConv1D(4, 3, padding="same"),
        tfconv.DepthwiseConv1D(4, data_format="channels_first"),
        LAYERS.Conv1D(4, 3, strides=2, padding="same"),
        LAYERS.MaxPooling1D(3, padding="same"),
        LAYERS.ZeroPadding1D((1, 1)),
        LAYERS.LSTM(4, return_sequences=True),
        LAYERS.Bidirectional(LAYERS.GRU(4)),
        LAYERS.Permute((2, 1)),
        LAYERS.Reshape((24, 12)),
        LAYERS.LayerNormalization(axis=[1, 2]),
        LAYERS.BatchNormalization(axis=1),
        LAYERS.GroupNormalization(2),
        LAYERS.Softmax(axis=1),
        LAYERS.PReLU(),
        LAYERS.Lambda(lambda x: x[:, ::-1], output_shape=(48, 6)),
        LAYERS.Activation(lambda x: x * 2),
        LAYERS.Dense(4, activation=lambda x: x * 2),
        LAYERS.Conv1DTranspose(4, 2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_what_cannot_stream_is_refused_by_name_and_buffered_if_asked(layer):
    layer.name = "culprit"
    model = network(
        tfconv.SeparableConv1D(6, 1, name="fine"),
        layer,
        LAYERS.Flatten(),
        LAYERS.Dense(2),
    )
    with pytest.raises(ValueError, match="culprit") as error:
        tfconv.streaming.plan(model, 4)
    assert type(layer).__name__ in str(error.value)
    assert 'fallback="buffer"' in str(error.value)
    plan = assert_equal_to_windows(model, 4, fallback="buffer")
    assert plan.every_hop
    assert [(s.name, s.shape[0]) for s in plan.states] == [("culprit", 44)]
    assert by_name(plan)["fine"].frames_out == 4
    assert by_name(plan)["culprit"].frames_out is None


def attend(x):
    return LAYERS.Attention(name="culprit")([x, x])


def weigh(x):
    pooled = LAYERS.GlobalAveragePooling1D(keepdims=True)(x)
    return LAYERS.Multiply(name="culprit")([x, pooled])


def concatenate(x):
    return LAYERS.Concatenate(axis=1, name="culprit")([x, x])


def rates(x):
    slow = LAYERS.MaxPooling1D(2)(x)
    return LAYERS.Add(name="culprit")([x[:, 24:], slow])


def positions(x):
    return keras.ops.add(x, np.ones((1, 48, 6), np.float32))


def reverse(x):
    return x[:, ::-1]


def split_time(x):
    return keras.ops.concatenate(keras.ops.split(x, 2, axis=1), axis=-1)


@pytest.mark.parametrize(
    "call, name",
    [
        (split_time, "split"),
        (attend, "culprit"),
        (weigh, "culprit"),
        (concatenate, "culprit"),
        (rates, "culprit"),
        (positions, "add"),
        (reverse, "get_item"),
    ],
)
def test_calls_of_several_tensors_are_refused_by_name_too(call, name):
    inputs = keras.Input((48, 6))
    model = keras.Model(inputs, LAYERS.GlobalMaxPooling1D()(call(inputs)))
    with pytest.raises(ValueError, match=f"'{name}"):
        tfconv.streaming.plan(model, 4)
    plan = assert_equal_to_windows(model, 4, fallback="buffer")
    assert plan.every_hop


def test_the_remedy_for_same_padding_is_said():
    model = network(tfconv.SeparableConv1D(4, 3, padding="same"))
    with pytest.raises(ValueError, match='Use `padding="causal"`'):
        tfconv.streaming.plan(model, 4)


@pytest.mark.parametrize(
    "layer",
    [
        LAYERS.Conv1D(4, 1, padding="same"),
        tfconv.SeparableConv1D(4, 2, strides=2, padding="same"),
        LAYERS.AveragePooling1D(4, padding="same"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_same_padding_that_adds_no_zeros_streams(layer):
    assert assert_equal_to_windows(network(layer), 4).every_hop


def test_a_hop_that_the_stride_does_not_divide_is_refused():
    model = network(
        tfconv.SeparableConv1D(6, 3, strides=2, name="one"),
        tfconv.SeparableConv1D(6, 3, strides=3, name="two"),
    )
    with pytest.raises(ValueError, match=r"'two'.* multiple of 6"):
        tfconv.streaming.plan(model, 4)
    # Not the 2 that this layer would be content with.
    with pytest.raises(ValueError, match=r"'one'.* multiple of 6"):
        tfconv.streaming.plan(model, 5)
    assert_equal_to_windows(model, 4, fallback="buffer")
    assert_equal_to_windows(model, 12)


def test_a_hop_beyond_the_window_is_not_proposed():
    model = network(
        tfconv.SeparableConv1D(6, 3, strides=8),
        LAYERS.MaxPooling1D(2, strides=7),
    )
    with pytest.raises(ValueError, match=r"hop of 56 .* the window has 48"):
        tfconv.streaming.plan(model, 4)


@pytest.mark.parametrize("hop", [0, -1, 49, 2.0, "2", None, True])
def test_a_hop_out_of_range_is_refused(hop):
    with pytest.raises(ValueError, match="`hop`"):
        tfconv.streaming.plan(network(LAYERS.ReLU()), hop)


def test_causal_networks_need_a_hop_that_divides_the_window():
    model = network(
        tfconv.SeparableConv1D(6, 3, padding="causal", name="look_back"),
        LAYERS.GlobalAveragePooling1D(),
    )
    assert not assert_equal_to_windows(model, 4).every_hop
    with pytest.raises(ValueError, match=r"'look_back'.*divides 48"):
        tfconv.streaming.plan(model, 5)
    assert assert_equal_to_windows(model, 5, fallback="buffer").every_hop


def test_causal_frames_that_see_no_padding_are_equal_at_every_hop():
    model = network(
        tfconv.SeparableConv1D(6, 9, padding="causal"),
        tfconv.SeparableConv1D(6, 9, padding="causal", dilation_rate=4),
        LAYERS.Dense(3, activation="softmax"),
    )
    # 5 frames see 8 + 32 more: 45 of 48; with 16 padding is seen.
    assert assert_equal_to_windows(model, 5).every_hop
    assert not assert_equal_to_windows(model, 16).every_hop


def test_causal_after_valid_layers_is_never_a_window_and_refused():
    model = network(
        tfconv.SeparableConv1D(6, 3),
        tfconv.SeparableConv1D(6, 3, padding="causal", name="look_back"),
        LAYERS.GlobalAveragePooling1D(),
    )
    with pytest.raises(ValueError, match=r"'look_back'.*in all layers or in"):
        tfconv.streaming.plan(model, 4)
    assert assert_equal_to_windows(model, 4, fallback="buffer").every_hop


def test_valid_after_causal_layers_is_the_window_after_a_reset():
    model = network(
        tfconv.SeparableConv1D(6, 3, padding="causal", strides=2),
        tfconv.SeparableConv1D(6, 3),
        LAYERS.GlobalAveragePooling1D(),
    )
    assert not assert_equal_to_windows(model, 4).every_hop


def test_padding_at_the_start_is_that_of_a_reset_stream():
    padded = network(
        LAYERS.ZeroPadding1D((4, 0)),
        LAYERS.Conv1D(3, 5),
        LAYERS.GlobalAveragePooling1D(),
    )
    assert not assert_equal_to_windows(padded, 16).every_hop
    # Of zeros normalization makes something else, of which a stream has none.
    shifted = network(
        LAYERS.ZeroPadding1D((4, 0)),
        LAYERS.BatchNormalization(name="shift"),
        LAYERS.Conv1D(3, 5),
        LAYERS.GlobalAveragePooling1D(),
    )
    with pytest.raises(ValueError, match="'shift'"):
        tfconv.streaming.plan(shifted, 4)
    assert_equal_to_windows(shifted, 4, fallback="buffer")


def test_padding_of_frames_that_a_stream_has_already_is_refused():
    model = network(
        LAYERS.Conv1D(3, 5),
        LAYERS.ZeroPadding1D((4, 0), name="pad"),
        LAYERS.Conv1D(3, 5),
        LAYERS.GlobalAveragePooling1D(),
    )
    with pytest.raises(ValueError, match="'pad'"):
        tfconv.streaming.plan(model, 4)
    assert assert_equal_to_windows(model, 4, fallback="buffer").every_hop


def test_outputs_are_promised_where_all_of_them_are_equal():
    inputs = keras.Input((48, 6))
    average = LAYERS.GlobalAveragePooling1D()
    causal = average(LAYERS.Conv1D(3, 5, padding="causal")(inputs))
    valid = LAYERS.Conv1D(3, 5)(inputs)
    mixed = LAYERS.Conv1D(3, 5, padding="causal")(valid)
    for outputs in ([causal, valid], [causal, average(valid)]):
        plan = assert_equal_to_windows(keras.Model(inputs, outputs), 4)
        assert not plan.every_hop
    newest = keras.Model(inputs, LAYERS.Add()([causal, mixed[:, -1]]))
    assert not assert_equal_to_windows(newest, 4).every_hop
    pooled = keras.Model(inputs, LAYERS.Add()([causal, average(mixed)]))
    plan = assert_equal_to_windows(pooled, 4, fallback="buffer")
    assert not plan.every_hop


def test_what_is_not_a_graph_of_layers_is_refused():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(TypeError, match="Keras model"):
        tfconv.streaming.plan(LAYERS.Dense(3), 4)
    for model in (Subclassed(), keras.Sequential([LAYERS.Dense(3)])):
        with pytest.raises(ValueError, match="functional or Sequential"):
            tfconv.streaming.plan(model, 4)
    with pytest.raises(ValueError, match="fixed shape"):
        tfconv.streaming.plan(network(LAYERS.ReLU(), shape=(None, 6)), 4)
    with pytest.raises(ValueError, match="fallback='cpu'"):
        tfconv.streaming.plan(network(LAYERS.ReLU()), 4, fallback="cpu")


def test_masks_are_refused():
    masked = network(LAYERS.Masking(name="mask"), LAYERS.GRU(2))
    with pytest.raises(ValueError, match="'mask'"):
        tfconv.streaming.plan(masked, 4)
    inputs = keras.Input((48,), dtype="int32")
    embedded = LAYERS.Embedding(9, 3, mask_zero=True, name="embed")(inputs)
    with pytest.raises(ValueError, match=r"'embed'.* mask"):
        tfconv.streaming.plan(keras.Model(inputs, embedded), 4)


def test_layers_in_training_mode_are_refused():
    inputs = keras.Input((48, 6))
    x = LAYERS.BatchNormalization(name="batch")(inputs, training=True)
    with pytest.raises(ValueError, match=r"'batch'.*training=True"):
        tfconv.streaming.plan(keras.Model(inputs, x), 4)


def test_inputs_of_different_lengths_are_refused():
    one, two = keras.Input((48, 6)), keras.Input((24, 6))
    model = keras.Model([one, two], [one, two])
    with pytest.raises(ValueError, match="same number of time steps"):
        tfconv.streaming.plan(model, 4)
