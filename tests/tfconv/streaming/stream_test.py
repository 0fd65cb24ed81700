"""A stream: states, batches, compilation, and the kinds of models it takes."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv
from tests.tfconv.streaming.whole_windows import assert_close
from tests.tfconv.streaming.whole_windows import assert_equal_to_windows
from tests.tfconv.streaming.whole_windows import randomize
from tests.tfconv.streaming.whole_windows import signals

LAYERS = keras.layers
HOP = 4


def network(*layers, shape=(24, 3)):
    return randomize(keras.Sequential([keras.Input(shape), *layers]))


def spotter():
    return network(
        tfconv.SeparableConv1D(5, 5, strides=2),
        LAYERS.BatchNormalization(),
        LAYERS.ReLU(),
        tfconv.DepthwiseConv1D(3, dilation_rate=2),
        LAYERS.GlobalAveragePooling1D(),
        LAYERS.Dense(2),
    )


def run(stream, frames):
    """The last outputs after all hops."""
    for start in range(0, frames.shape[1], HOP):
        outputs = stream(frames[:, start : start + HOP])
    return outputs


def test_a_step_is_a_function_of_its_states_alone():
    stream = tfconv.streaming.Stream(spotter(), HOP, jit_compile=False)
    (x,) = signals(stream.model, 24)
    states = stream.initial_states(2)
    for start in range(0, 24, HOP):
        frames = x[:, start : start + HOP]
        before = [np.array(state) for state in states]
        outputs, new_states = stream.step(frames, states)
        again, _ = stream.step(frames, states)
        np.testing.assert_array_equal(outputs, again)
        for state, value in zip(states, before, strict=True):
            np.testing.assert_array_equal(state, value)
        states = new_states
    assert_close(outputs, stream.model(x))
    assert_close(run(stream, x), outputs)


def test_states_are_the_newest_frames_of_one_tensor_each():
    model = spotter()
    stream = tfconv.streaming.Stream(model, HOP, jit_compile=False)
    (x,) = signals(model, 24)
    states = stream.initial_states(2)
    for start in range(0, 24, HOP):
        _, states = stream.step(x[:, start : start + HOP], states)
    model(x)
    tensors = [model.inputs[0], model.layers[2].output, model.layers[3].output]
    values = keras.Model(model.inputs[0], tensors)(x)
    assert len(states) == len(stream.plan.states) == 3
    for state, planned, value in zip(
        states, stream.plan.states, values, strict=True
    ):
        assert state.shape == (2, *planned.shape)
        assert state.dtype == planned.dtype
        assert_close(state, value[:, -planned.shape[0] :])


def test_a_step_adds_to_the_graph_that_it_is_traced_in():
    stream = tfconv.streaming.Stream(spotter(), HOP)
    frames = tf.TensorSpec((1, HOP, 3))
    states = [
        tf.TensorSpec((1, *state.shape), state.dtype)
        for state in stream.plan.states
    ]
    function = tf.function(stream.step).get_concrete_function(frames, states)
    operations = {node.type for node in function.graph.get_operations()}
    assert "StatefulPartitionedCall" not in operations
    outputs, new_states = function.structured_outputs
    assert outputs.shape == (1, 2)
    assert [s.shape for s in new_states] == [s.shape for s in states]


def test_compiled_or_not_the_outputs_are_the_same():
    model = spotter()
    (x,) = signals(model, 32)
    compiled, plain = (
        run(tfconv.streaming.Stream(model, HOP, jit_compile=jit), x)
        for jit in (True, False)
    )
    assert_close(compiled, plain)
    assert_close(compiled, model(x[:, 8:]))


def test_streams_of_a_batch_do_not_see_each_other():
    stream = tfconv.streaming.Stream(spotter(), HOP, jit_compile=False)
    (x,) = signals(stream.model, 32, batch=3)
    together = run(stream, x)
    for index in range(3):
        stream.reset()
        assert_close(run(stream, x[index : index + 1])[0], together[index])


def test_reset_forgets_what_was_heard():
    stream = tfconv.streaming.Stream(spotter(), HOP, jit_compile=False)
    (x,) = signals(stream.model, 32)
    first = stream(x[:, :HOP])
    run(stream, x)
    assert np.any(np.not_equal(stream(x[:, :HOP]), first))
    stream.reset()
    np.testing.assert_array_equal(stream(x[:, :HOP]), first)


def test_another_batch_size_needs_a_reset():
    stream = tfconv.streaming.Stream(spotter(), HOP, jit_compile=False)
    stream(np.zeros([2, HOP, 3], np.float32))
    with pytest.raises(ValueError, match=r"are 2.*a batch of 3"):
        stream(np.zeros([3, HOP, 3], np.float32))
    stream.reset()
    assert stream(np.zeros([3, HOP, 3], np.float32)).shape == (3, 2)


@pytest.mark.parametrize("padding", ["valid", "causal"])
@pytest.mark.parametrize(
    "layer",
    [tfconv.SeparableConv1D, tfconv.DepthwiseConv1D, LAYERS.Conv1D],
    ids=lambda layer: layer.__name__,
)
def test_weights_are_those_of_the_time_of_the_call(layer, padding):
    filters = {} if layer is tfconv.DepthwiseConv1D else {"filters": 4}
    model = network(layer(kernel_size=3, padding=padding, **filters))
    stream = tfconv.streaming.Stream(model, HOP)
    (x,) = signals(model, 24)
    before = run(stream, x)
    weights = len(model.weights)
    model.set_weights([2 * w + 0.5 for w in model.get_weights()])
    stream.reset()
    after = run(stream, x)
    assert not np.allclose(before, after)
    assert_close(after, model(x)[:, -HOP:])
    assert len(model.weights) == weights


def test_two_inputs_and_outputs_keep_their_structure():
    one = keras.Input((24, 3), name="one")
    two = keras.Input((24, 2), name="two")
    shared = tfconv.DepthwiseConv1D(3, name="shared")
    x = LAYERS.Concatenate()([shared(one), LAYERS.Conv1D(2, 3)(two)])
    outputs = {"frames": x, "pooled": LAYERS.GlobalMaxPooling1D()(x)}
    for inputs in ([one, two], {"one": one, "two": two}):
        model = randomize(keras.Model(inputs, outputs))
        stream = tfconv.streaming.Stream(model, HOP, jit_compile=False)
        x, y = signals(model, 24)
        for start in range(0, 24, HOP):
            new = [array[:, start : start + HOP] for array in (x, y)]
            named = dict(zip(("one", "two"), new, strict=True))
            actual = stream(named)
        expected = model({"one": x, "two": y})
        assert set(actual) == {"frames", "pooled"}
        assert_close(actual["pooled"], expected["pooled"])
        assert_close(actual["frames"], expected["frames"][:, -HOP:])


def test_a_layer_that_is_shared_looks_back_separately_at_each_call():
    one, two = keras.Input((24, 3)), keras.Input((24, 3))
    shared = tfconv.SeparableConv1D(3, 4, padding="causal", name="shared")
    x = LAYERS.Subtract()([shared(one), shared(shared(two))])
    model = keras.Model([one, two], x)
    plan = assert_equal_to_windows(model, HOP)
    names = [state.name for state in plan.states]
    assert names == ["shared", "shared#2", "shared#3"]


def test_nested_models_stream_from_within():
    inner_inputs = keras.Input((None, 5))
    y = tfconv.DepthwiseConv1D(3)(inner_inputs)
    block = keras.Model(inner_inputs, LAYERS.Add()([y, inner_inputs[:, 2:]]))
    model = keras.Sequential(
        [
            keras.Input((24, 3)),
            keras.Sequential([LAYERS.Conv1D(5, 3), LAYERS.ReLU()]),
            block,
            LAYERS.GlobalAveragePooling1D(),
        ]
    )
    plan = assert_equal_to_windows(model, 3)
    assert plan.every_hop


def last_frame(x):
    return x[:, -1]


def earlier_frame(x):
    return x[:, 9, 1:]


def frames_without_ends(x):
    return x[:, 2:-3, :2]


def mean_over_time(x):
    return keras.ops.mean(keras.activations.relu(x) * 2.0 + 1.0, axis=1)


def spectra(x):
    return LAYERS.Reshape((24, 1, 3))(x)


def mixed_kernel_sizes(x):
    one, two = keras.ops.split(x, [1], axis=-1)
    one = LAYERS.Cropping1D((2, 0))(tfconv.DepthwiseConv1D(3)(one))
    return keras.ops.concatenate([one, tfconv.DepthwiseConv1D(5)(two)], -1)


def channels_in_another_order(x):
    last, middle, first = keras.ops.unstack(keras.ops.flip(x, -1), axis=2)
    x = keras.ops.stack([middle, first], axis=-1)
    x = [x, keras.ops.expand_dims(last, -1)]
    x, y = keras.ops.array_split(keras.ops.concatenate(x, -1), 2, axis=-1)
    y = keras.ops.expand_dims(keras.ops.squeeze(y, -1), -1)
    return x * keras.ops.repeat(y, 2, axis=-1)


def channels_by_number(x):
    return keras.ops.take(x, [[2, 0], [1, 1]], axis=-1)


def box(x):
    return keras.ops.slice(x, (0, 3, 1), (-1, 15, 2))


@pytest.mark.parametrize(
    "call",
    [
        last_frame,
        earlier_frame,
        frames_without_ends,
        mean_over_time,
        spectra,
        mixed_kernel_sizes,
        channels_in_another_order,
        channels_by_number,
        box,
    ],
)
@pytest.mark.parametrize("hop", [1, 5, 24])
def test_operations_on_tensors_stream_too(call, hop):
    inputs = keras.Input((24, 3))
    assert assert_equal_to_windows(keras.Model(inputs, call(inputs)), hop)


def test_only_the_frames_back_to_the_one_picked_are_held():
    inputs = keras.Input((24, 3))
    model = keras.Model(inputs, [inputs[:, -1], inputs[:, -7]])
    plan = tfconv.streaming.plan(model, HOP)
    assert [state.shape for state in plan.states] == [(3, 3)]


@pytest.mark.parametrize(
    "layer",
    [
        LAYERS.ActivityRegularization(l1=0.1),
        LAYERS.AlphaDropout(0.5),
        LAYERS.ELU(),
        LAYERS.GaussianDropout(0.5),
        LAYERS.GaussianNoise(1.0),
        LAYERS.Identity(),
        LAYERS.LayerNormalization(),
        LAYERS.LeakyReLU(),
        LAYERS.Normalization(mean=[1.0, 2, 3], variance=[1.0, 2, 3]),
        LAYERS.PReLU(shared_axes=[1]),
        LAYERS.RMSNormalization(),
        LAYERS.Rescaling(0.5, offset=1.0),
        LAYERS.Softmax(),
        LAYERS.SpatialDropout1D(0.5),
        LAYERS.TimeDistributed(LAYERS.Dense(4)),
        LAYERS.UnitNormalization(),
        LAYERS.Dense(4, activation=LAYERS.LeakyReLU(0.1)),
        LAYERS.Activation("softmax"),
        LAYERS.Activation(tf.nn.relu),
    ],
    ids=lambda layer: layer.name,
)
def test_layers_that_work_frame_by_frame_hold_none(layer):
    plan = assert_equal_to_windows(network(layer), HOP)
    assert not plan.states


@pytest.mark.parametrize(
    "merge",
    [
        LAYERS.Average,
        LAYERS.Maximum,
        LAYERS.Minimum,
        LAYERS.Multiply,
        LAYERS.Subtract,
    ],
)
def test_branches_of_one_rate_merge(merge):
    inputs = keras.Input((24, 3))
    x = LAYERS.Conv1D(3, 5, strides=2)(inputs)
    y = LAYERS.MaxPooling1D(5, strides=2)(inputs)
    model = keras.Model(inputs, LAYERS.Flatten()(merge()([x, y])))
    assert assert_equal_to_windows(model, HOP).every_hop


def test_numbers_of_tokens_stream_through_an_embedding():
    inputs = keras.Input((24,), dtype="int32")
    x = tfconv.SeparableConv1D(4, 3)(LAYERS.Embedding(9, 3)(inputs))
    model = randomize(keras.Model(inputs, LAYERS.GlobalMaxPooling1D()(x)))
    stream = tfconv.streaming.Stream(model, HOP, jit_compile=False)
    x = np.random.default_rng(0).integers(0, 9, [2, 32])
    assert_close(run(stream, x), model(x[:, 8:]))


def test_samples_without_channels_stream_through_a_reshape():
    model = network(
        LAYERS.Reshape((24, 1)), tfconv.DepthwiseConv1D(3), shape=(24,)
    )
    assert assert_equal_to_windows(model, HOP).every_hop


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_states_in_the_tensors_type(policy):
    inner = keras.Sequential([keras.Input((None, 4)), LAYERS.Dense(4)])
    model = network(
        tfconv.SeparableConv1D(4, 3, padding="causal", dtype=policy),
        LAYERS.Conv1D(4, 3, padding="causal", dtype=policy),
        inner,
    )
    stream = tfconv.streaming.Stream(model, HOP, jit_compile=False)
    half = policy.removeprefix("mixed_")
    assert [s.dtype for s in stream.plan.states] == ["float32", half]
    assert stream.plan.state_bytes == 4 * 2 * 3 + 2 * 2 * 4
    (x,) = signals(model, 24)
    actual, expected = run(stream, x), model(x)[:, -HOP:]
    assert actual.dtype == expected.dtype
    # A few roundings to 8 bits, of sums near 1.
    np.testing.assert_allclose(actual, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("window, hop", [(24, 24), (24, 7), (5, 5), (5, 4)])
def test_few_hops_in_a_window_are_hops_like_others(window, hop):
    model = network(LAYERS.Conv1D(3, 5), LAYERS.Flatten(), shape=(window, 3))
    assert assert_equal_to_windows(model, hop).every_hop


def test_low_rank_adaptation_is_streamed_through():
    layer = LAYERS.Conv1D(4, 3, padding="causal")
    model = network(layer)
    layer.enable_lora(2)
    assert_equal_to_windows(model, HOP)


@pytest.mark.parametrize(
    "frames, message",
    [
        (np.zeros([2, HOP + 1, 3]), "one hop"),
        (np.zeros([2, HOP, 4]), "one hop"),
        (np.zeros([HOP, 3]), "one hop"),
        ([np.zeros([2, HOP, 3])] * 2, "has 1 inputs"),
    ],
)
def test_frames_of_another_shape_are_refused(frames, message):
    stream = tfconv.streaming.Stream(spotter(), HOP, jit_compile=False)
    with pytest.raises(ValueError, match=message):
        stream(frames)
    with pytest.raises(ValueError, match=message):
        stream.step(frames, stream.initial_states(2))


def test_states_of_another_shape_are_refused():
    stream = tfconv.streaming.Stream(spotter(), HOP, jit_compile=False)
    frames = np.zeros([1, HOP, 3], np.float32)
    with pytest.raises(ValueError, match="initial_states"):
        stream.step(frames, stream.initial_states(1)[1:])
    with pytest.raises(ValueError, match="initial_states"):
        stream.step(frames, stream.initial_states(1)[::-1])


def test_inside_of_a_graph_only_the_pure_step_is_called():
    stream = tfconv.streaming.Stream(spotter(), HOP)
    with pytest.raises(ValueError, match="`step`"):
        tf.function(stream)(tf.zeros([1, HOP, 3]))


@pytest.mark.parametrize("name", ["plan", "Stream"])
def test_all_arguments_are_described(name):
    public = getattr(tfconv.streaming, name)
    for argument in inspect.signature(public).parameters:
        assert f"{argument}:" in inspect.getdoc(public)
