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
