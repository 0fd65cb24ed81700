"""The tables of a flatbuffer, read in time in proportion to its bytes."""

# Far more than a small file has; large ones have less than one a byte.
_MIN_PARTS = 1 << 20


class Reader:
    """Reads tables by the classes that are generated from a schema.

    These look up a part where the file says that it is. Each part may be said
    to be anywhere, any number of times: so parts are counted, and a file that
    has many more than bytes is damaged.

    Args:
        size: int, bytes of the file.
    """

    def __init__(self, size: int):
        self._left = _MIN_PARTS + size

    def spend(self, count: int) -> None:
        """Counts parts that were read, or are to be.

        Raises:
            ValueError: if the file cannot have so many.
        """
        self._left -= count
        if self._left < 0:
            raise ValueError("it has more parts than bytes")

    def tables(self, table, field: str) -> list:
        """The tables that a vector of them refers to; empty if it is none."""
        count = getattr(table, f"{field}Length")()
        self.spend(count)
        get = getattr(table, field)
        return [get(index) for index in range(count)]

    def numbers(self, table, field: str) -> list:
        """The numbers of a vector; empty if there is none."""
        values = getattr(table, f"{field}AsNumpy")()
        if isinstance(values, int):  # as for a vector that is left out
            return []
        self.spend(len(values))
        return values.tolist()

    def text(self, table, field: str) -> str:
        """A string; empty if there is none."""
        value = getattr(table, field)() or b""
        self.spend(len(value))
        return value.decode(errors="replace")


def item(items: list, index: int):
    """The item of an index that a file gives.

    Raises:
        ValueError: if there is none.
    """
    if not 0 <= index < len(items):
        raise ValueError(f"it names item {index} of {len(items)}")
    return items[index]
