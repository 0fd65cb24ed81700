"""Names of inputs that TensorFlow would change, on their way to the file.

`tf.function` and the SavedModel put a word before a digit, replace a dot, make
letters small, and do not take a keyword. A TFLite file takes any name.
"""

import keyword
import re
from collections.abc import Iterable

from tfconv_export.quantization import flatbuffer_edit


def for_function(names: Iterable[str]) -> dict[str, str]:
    """Names for the arguments of a function that is to be converted.

    Args:
        names: those of the inputs, all different.

    Returns:
        From each name to one that TensorFlow keeps: itself if it can be.
    """
    names = list(names)
    arguments = {name: name for name in names if _is_kept(name)}
    for index, name in enumerate(names):
        argument = f"input_{index}"
        while argument in arguments.values():
            argument = f"{argument}_{index}"
        arguments.setdefault(name, argument)
    return {name: arguments[name] for name in names}


def restored(content: bytes, arguments: dict[str, str]) -> bytes:
    """The TFLite file of such a function, with the inputs' own names.

    Args:
        content: bytes of the file.
        arguments: what `for_function` gave.
    """
    names = {
        argument.encode(): name.encode()
        for name, argument in arguments.items()
        if argument != name
    }
    if not names:
        return content
    model = flatbuffer_edit.read(content)
    for signature in model.signatureDefs:
        for entry in signature.inputs:
            entry.name = names.get(entry.name, entry.name)
    return flatbuffer_edit.write(model)


def _is_kept(name: str) -> bool:
    return bool(re.fullmatch("[a-z][a-z0-9_]*", name)) and not (
        keyword.iskeyword(name)
    )
