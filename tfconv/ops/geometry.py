"""Window arithmetic of a 1-D convolution: the only padding rules here."""

import dataclasses

PADDINGS = ("valid", "same", "causal")
# TensorFlow's kernels compute with 32 bits, and end the process beyond.
LARGEST = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How windows of `kernel_size` taps are laid over the time axis.

    Attributes:
        kernel_size: int, the number of taps (k).
        strides: int, time steps between the starts of two windows.
        padding: string, one of `"valid"`, `"same"` or `"causal"`.
        dilation_rate: int, time steps between two taps of a window.
    """

    kernel_size: int
    strides: int = 1
    padding: str = "valid"
    dilation_rate: int = 1

    def __post_init__(self):
        if self.padding not in PADDINGS:
            raise ValueError(
                f"The `padding` argument must be one of {PADDINGS}. "
                f"Received: padding={self.padding!r}"
            )
        for name in ("kernel_size", "strides", "dilation_rate"):
            if (value := getattr(self, name)) > LARGEST:
                raise ValueError(
                    f"Invalid value for argument `{name}`. Expected at most "
                    f"{LARGEST}. Received {name}={value}."
                )
        if self.effective_kernel_size > LARGEST:
            raise ValueError(
                f"A window must span at most {LARGEST} time steps. Received: "
                f"kernel_size={self.kernel_size} and "
                f"dilation_rate={self.dilation_rate}"
            )
        if self.strides > 1 and self.dilation_rate > 1:
            raise ValueError(
                "`strides > 1` not supported in conjunction with "
                f"`dilation_rate > 1`. Received: strides={self.strides} and "
                f"dilation_rate={self.dilation_rate}"
            )

    @property
    def effective_kernel_size(self) -> int:
        """The time steps that one window spans."""
        return self.dilation_rate * (self.kernel_size - 1) + 1

    def pads(self, steps):
        """Zeros to add before and after `steps` time steps.

        `"same"` is TensorFlow's rule: as few zeros as let
        `ceil(steps / strides)` windows fit, the odd one of them at the end.

        Args:
            steps: int, or an integer scalar tensor where the number is not
                known before run time.

        Returns:
            `(left, right)`, of the type of `steps` or int.
        """
        reach = self.effective_kernel_size - 1
        if self.padding == "valid":
            return 0, 0
        if self.padding == "causal":
            return reach, 0
        if self.strides == 1:
            return reach // 2, reach - reach // 2
        total = (-(-steps // self.strides) - 1) * self.strides + reach + 1
        total = total - steps
        # max(total, 0), on tensors as well as on ints.
        total = (total + abs(total)) // 2
        return total // 2, total - total // 2

    def output_steps(self, steps: int) -> int:
        """The number of windows over `steps` time steps; 0 if none fits."""
        if self.padding == "valid":
            steps = steps - self.effective_kernel_size + 1
        return max(0, -(-steps // self.strides))

    def output_shape(
        self,
        input_shape: tuple[int | None, ...],
        channels: int,
        multiplier: int = 1,
        shown_shape: tuple[int | None, ...] | None = None,
    ) -> tuple[int | None, ...]:
        """The shape after a convolution of `input_shape` to `channels`.

        Args:
            input_shape: `(b, t, c)`; b and t may be `None`.
            channels: int, the number of output channels.
            multiplier: int, the kernel's last dimension, for the message.
            shown_shape: the shape that the caller gave, if another, likewise.

        Raises:
            ValueError: if t is known and no window fits into it.
        """
        batch, steps, input_channels = input_shape
        if steps is None:
            return (batch, None, channels)
        output_steps = self.output_steps(steps)
        if self.padding == "valid" and output_steps == 0:
            kernel_shape = (self.kernel_size, input_channels, multiplier)
            raise ValueError(
                "Computed output size would be zero or negative. Received "
                f"`inputs shape={tuple(shown_shape or input_shape)}`, "
                f"`kernel shape={kernel_shape}`, "
                f"`dilation_rate={self.dilation_rate}`, "
                f"`strides={self.strides}`, "
                f"`padding={self.padding}`."
            )
        return (batch, output_steps, channels)
