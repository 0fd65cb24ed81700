"""A model of whole windows, run frame by frame."""

import keras
import tensorflow as tf

from tfconv.streaming.graph import as_functional
from tfconv.streaming.planning import program


class Stream:
    """A model of whole windows, run frame by frame.

    It computes with the model's own weights, as they are at each call. States
    begin as zeros, so that the first outputs are those of a window of zeros
    that fills: wait for `plan.hops_until_full` of them.

    Args:
        model: a functional or Sequential model, see `tfconv.streaming.plan`.
        hop: int, new frames per step.
        fallback: `None` or `"buffer"`, see `tfconv.streaming.plan`.
        jit_compile: bool, whether steps outside of a `tf.function` are compiled
            by XLA.

    Attributes:
        model: the whole-window model.
        plan: the `tfconv.streaming.Plan`.

    Raises:
        TypeError: as `tfconv.streaming.plan`.
        ValueError: likewise.

    Example:

    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((49, 10)),
    ...         tfconv.SeparableConv1D(16, 5),
    ...         keras.layers.GlobalAveragePooling1D(),
    ...     ]
    ... )
    >>> stream = tfconv.streaming.Stream(model, hop=7, jit_compile=False)
    >>> x = np.random.rand(1, 49, 10).astype(np.float32)
    >>> for start in range(0, 49, 7):
    ...     y = stream(x[:, start : start + 7])
    >>> np.testing.assert_allclose(y, model(x), rtol=1e-5, atol=1e-6)
    """

    def __init__(
        self,
        model: keras.Model,
        hop: int,
        fallback: str | None = None,
        jit_compile: bool = True,
    ):
        self.model = model
        self._program = program(model, hop, fallback)
        self._functional = as_functional(model)
        self._compiled = tf.function(
            self._step, jit_compile=jit_compile, reduce_retracing=True
        )
        self._states = None
        self.plan = self._program.plan

    def __call__(self, frames):
        """The next outputs of the streams that began at the last `reset`.

        Args:
            frames: exactly `hop` new frames for each input of the model,
                `(b, hop, c)`.

        Returns:
            What the model returns, with the new frames of outputs over time.

        Raises:
            ValueError: if `frames` are not of that shape, if b is another than
                since the last `reset`, or inside of a `tf.function`, where
                states cannot be kept.
        """
        if not tf.executing_eagerly():
            raise ValueError(
                "A stream keeps its states between eager calls. Inside of a "
                "`tf.function` use its `step`, which takes and returns them."
            )
        flat = self._flat(frames)
        batch_size = flat[0].shape[0]
        if self._states is None:
            self._states = self.initial_states(batch_size)
        elif self._batch_size != batch_size:
            raise ValueError(
                f"The streams that began are {self._batch_size}. Call `reset` "
                f"before others. Received: a batch of {batch_size}"
            )
        self._batch_size = batch_size
        outputs, self._states = self._run(flat, self._states)
        return outputs

    def reset(self) -> None:
        """Lets the next call begin new streams."""
        self._states = None

    def initial_states(self, batch_size: int = 1) -> list[tf.Tensor]:
        """Zeros for each of `plan.states`, `(batch_size, frames, channels)`."""
        return [
            tf.zeros((batch_size, *state.shape), state.dtype)
            for state in self.plan.states
        ]

    def step(self, frames, states):
        """One hop, as a function of the states.

        Called eagerly it is compiled; inside of a `tf.function` it adds its
        operations to that one's graph.

        Args:
            frames: exactly `hop` new frames for each input of the model,
                `(b, hop, c)`.
            states: list of tensors `(b, frames, channels)`, as `initial_states`
                and as this function returns them.

        Returns:
            The outputs, as the model returns them, and the new states.

        Raises:
            ValueError: if `frames` or `states` are not of these shapes.
        """
        states = [tf.convert_to_tensor(state) for state in states]
        self._check_states(states)
        return self._run(self._flat(frames), states)

    def _run(self, frames, states):
        if tf.executing_eagerly():
            return self._compiled(frames, states)
        return self._step(frames, states)

    def _step(self, frames, states):
        slots = {
            signal.slot: tensor
            for signal, tensor in zip(self._program.inputs, frames, strict=True)
        }
        states = iter(states)
        new_states = []
        for step in self._program.steps:
            tensors = {}
            for taken in step.inputs:
                tensor = slots[taken.slot]
                if taken.hold > 0:
                    tensor = tf.concat([next(states), tensor], axis=1)
                    new_states.append(tensor[:, -taken.hold :])
                elif taken.hold < 0:
                    tensor = tensor[:, -taken.hold :]
                tensors[taken.key] = tensor
            args, kwargs = step.arguments.fill_in(tensors)
            made = keras.tree.flatten(step.function(*args, **kwargs))
            slots.update(zip(step.outputs, made, strict=True))
        outputs = [slots[slot] for slot in self._program.outputs]
        return self._pack(outputs), new_states

    def _pack(self, outputs):
        packed = keras.tree.pack_sequence_as(
            self._functional._outputs_struct, outputs
        )
        if isinstance(packed, (list, tuple)) and len(packed) == 1:
            return packed[0]
        return packed

    def _flat(self, frames) -> list[tf.Tensor]:
        names = [tensor.name for tensor in self._functional.inputs]
        if isinstance(frames, dict) and not isinstance(
            self._functional._inputs_struct, dict
        ):
            frames = [frames[name] for name in names]
        flat = keras.tree.flatten(frames)
        if len(flat) != len(names):
            raise ValueError(
                f"The model has {len(names)} inputs, {names}. "
                f"Received: {len(flat)}"
            )
        return [
            self._checked(tensor, signal, name)
            for tensor, signal, name in zip(
                flat, self._program.inputs, names, strict=True
            )
        ]

    def _checked(self, tensor, signal, name: str) -> tf.Tensor:
        if not tf.is_tensor(tensor):
            tensor = tf.convert_to_tensor(tensor)
        tensor = tf.cast(tensor, signal.window.dtype)
        expected = signal.example_shape
        if tuple(tensor.shape[1:]) != expected:
            raise ValueError(
                f"Input '{name}' must bring one hop, of shape "
                f"{('batch', *expected)}. Received: {tuple(tensor.shape)}"
            )
        return tensor

    def _check_states(self, states: list[tf.Tensor]) -> None:
        shapes = [tuple(state.shape[1:]) for state in states]
        expected = [state.shape for state in self.plan.states]
        if shapes != expected:
            raise ValueError(
                "The states must be those of `initial_states`, of shapes "
                f"{expected} for each stream. Received: {shapes}"
            )
