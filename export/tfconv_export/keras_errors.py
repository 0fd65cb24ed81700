"""Sentences for users on what Keras raises when it cannot load a file."""

import pathlib
import platform
import re

from tfconv_export.errors import UsageError
from tfconv_export.errors import reason

_UNKNOWN = re.compile(
    r"(?:Could not locate|Unknown) \w+(?: function)?:? '?([\w>.]+)"
    r"|Could not interpret activation function identifier: ([\w>.]+)"
)
# Of Python's own reader of bytecode, which says no more.
_FOREIGN_CODE = re.compile("bad marshal data|marshal data too short|EOF read")


def has_code(path: pathlib.Path) -> UsageError:
    """For a file that holds Python code, which may not be run."""
    return UsageError(
        f"--model={path} has a Lambda, whose Python code loading the file "
        "would run; pass --unsafe_deserialization if you trust where the file "
        "comes from."
    )


def cannot_load(path: pathlib.Path, error: Exception) -> UsageError:
    """For a file that is whole, but that Keras refuses.

    Args:
        path: of the file.
        error: what Keras raised.
    """
    if re.search("deserialization of a.*lambda", str(error), re.IGNORECASE):
        return has_code(path)
    prefix = f"--model={path} cannot be loaded:"
    unknown = unknown_name(error)
    if unknown is not None and f"tfconv>{unknown}" in str(error):
        return UsageError(
            f"{prefix} this version of tfconv has no {unknown}; install the "
            "one that the model was trained with."
        )
    if unknown is not None:
        return not_known(path, unknown)
    if _FOREIGN_CODE.search(str(error)):
        return UsageError(
            f"{prefix} it has a Lambda whose code another version of Python "
            f"wrote, and Python {platform.python_version()} cannot read; run "
            "tfconv-export on the Python that saved the model, or save it "
            "with a layer of its own in the place of the Lambda."
        )
    return UsageError(f"{prefix} {reason(error)}.")


def not_known(path: pathlib.Path, name: str) -> UsageError:
    """For a file with a class or a function that is not Keras's."""
    return UsageError(
        f"--model={path} cannot be loaded: {name} is not one of Keras's own; "
        "pass --custom_module=FILE, a Python file that defines it under "
        "@keras.saving.register_keras_serializable()."
    )


def unknown_name(error: Exception) -> str | None:
    """The class or function that Keras did not find, if that is the error."""
    found = _UNKNOWN.search(str(error))
    return found and (found[1] or found[2])
