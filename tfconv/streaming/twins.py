"""The same layer, over the same weights, without its padding."""

import keras

from tfconv import layers

_WEIGHTS = ("kernel", "depthwise_kernel", "pointwise_kernel", "bias")
_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.DepthwiseConv1D,
    keras.layers.SeparableConv1D,
    layers.DepthwiseConv1D,
    layers.SeparableConv1D,
)
# What a layer computes with, as opposed to what it is trained with.
_ARGUMENTS = (
    "filters",
    "kernel_size",
    "pool_size",
    "strides",
    "dilation_rate",
    "depth_multiplier",
    "groups",
    "use_bias",
    "data_format",
)


def without_padding(layer: keras.Layer) -> keras.Layer:
    """A layer with `padding="valid"` that shares the variables of `layer`."""
    config = layer.get_config()
    arguments = {
        name: config[name]
        for name in _ARGUMENTS
        if name in config and config[name] is not None
    }
    twin = type(layer)(
        **arguments, padding="valid", name=layer.name, dtype=layer.dtype_policy
    )
    if isinstance(layer, _CONVOLUTIONS):
        twin.activation = layer.activation
        for name in _WEIGHTS:
            _share(layer, twin, name)
        if isinstance(layer, keras.layers.Conv1D):
            _share_lora(layer, twin)
    twin.built = True
    return twin


def _share(layer, twin, name: str) -> None:
    # Keras's Conv1D computes `kernel` from another attribute.
    name = f"_{name}" if f"_{name}" in vars(layer) else name
    if name in vars(layer):
        setattr(twin, name, getattr(layer, name))


def _share_lora(layer, twin) -> None:
    for name in ("lora_enabled", "lora_rank", "lora_alpha"):
        setattr(twin, name, getattr(layer, name))
    if layer.lora_enabled:
        twin.lora_kernel_a = layer.lora_kernel_a
        twin.lora_kernel_b = layer.lora_kernel_b
