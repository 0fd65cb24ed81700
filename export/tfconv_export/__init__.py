"""Trained Keras models as quantized TFLite files that are proved."""

import importlib
from typing import TYPE_CHECKING

from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError

if TYPE_CHECKING:
    from tfconv_export.exporting import export
    from tfconv_export.result import ExportResult
    from tfconv_export.streaming import export_streaming
    from tfconv_export.streaming_interpreter import StreamingInterpreter
    from tfconv_export.streaming_result import StreamingResult

__all__ = [
    "CheckError",
    "ExportResult",
    "StreamingInterpreter",
    "StreamingResult",
    "UsageError",
    "export",
    "export_streaming",
]


# Imported when they are used: TensorFlow takes seconds to import, and the
# command sets its log level first.
_MODULES = {
    "ExportResult": "result",
    "StreamingInterpreter": "streaming_interpreter",
    "StreamingResult": "streaming_result",
    "export": "exporting",
    "export_streaming": "streaming",
}


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.import_module("tfconv")  # It says which backend Keras needs.
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, name)
