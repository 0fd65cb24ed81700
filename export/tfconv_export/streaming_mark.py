"""How a streaming file says that it is one, and what its states are called."""

import json

from ai_edge_litert import schema_py_generated as schema

from tfconv_export import metadata
from tfconv_export.quantization import flatbuffer_edit

NAME = "TFCONV_STREAM"


def add(content: bytes, states: dict[str, str]) -> bytes:
    """The file with a note in its metadata.

    Args:
        content: bytes of the file.
        states: from its inputs that are states to the outputs that they are
            at the next hop; none if it holds them itself.
    """
    model = flatbuffer_edit.read(content)
    buffer = schema.BufferT()
    buffer.data = list(json.dumps({"states": states}).encode())
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = NAME, len(model.buffers) - 1
    model.metadata = [*(model.metadata or ()), entry]
    return flatbuffer_edit.write(model)


def read(content: bytes) -> dict[str, str] | None:
    """The states of a streaming file; `None` if it is none.

    Raises:
        ValueError: if it is damaged.
    """
    note = metadata.find(content, NAME)
    if note is None:
        return None
    try:
        states = json.loads(note)["states"]
        return {str(name): str(output) for name, output in states.items()}
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its note {NAME} is damaged") from error
