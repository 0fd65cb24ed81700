"""The bytes of a TFLite file, with equal arrays written once."""

import flatbuffers


def write(model) -> bytes:
    """The file of a `schema.ModelT`."""
    builder = _SharingBuilder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):
    """Lets tables refer to the same array: zero points of 0, mostly."""

    def __init__(self, size: int):
        super().__init__(size)
        self._arrays = {}

    def CreateNumpyVector(self, x):
        key = (x.dtype.str, x.tobytes())
        if key not in self._arrays:
            self._arrays[key] = super().CreateNumpyVector(x)
        return self._arrays[key]
