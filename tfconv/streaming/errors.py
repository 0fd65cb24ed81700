"""Why a layer cannot go frame by frame."""


class CannotStream(Exception):
    """Raised inside of the planner, which knows the layer's name.

    Attributes:
        reason: string, a clause: what stands against it.
        remedy: string, a sentence: what to do instead.
    """

    def __init__(self, reason: str, remedy: str):
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class WrongHop(CannotStream):
    """A hop that brings no whole number of outputs.

    Attributes:
        multiple: int, the input frames of which a hop must be a multiple.
    """

    def __init__(self, reason: str, multiple: int):
        super().__init__(
            reason,
            f"Choose a hop that is a multiple of {multiple} input frames",
        )
        self.multiple = multiple
