"""Trained Keras models as quantized TFLite files that are proved."""

from typing import TYPE_CHECKING

from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError

if TYPE_CHECKING:
    from tfconv_export.exporting import export
    from tfconv_export.result import ExportResult
    from tfconv_export.streaming import export_streaming
    from tfconv_export.streaming_result import StreamingResult

__all__ = [
    "CheckError",
    "ExportResult",
    "StreamingResult",
    "UsageError",
    "export",
    "export_streaming",
]


def __getattr__(name: str):
    # Not before they are used: TensorFlow takes seconds to import, and the
    # command sets its log level first.
    if name == "export":
        from tfconv_export.exporting import export

        return export
    if name == "export_streaming":
        from tfconv_export.streaming import export_streaming

        return export_streaming
    if name == "StreamingResult":
        from tfconv_export.streaming_result import StreamingResult

        return StreamingResult
    if name == "ExportResult":
        from tfconv_export.result import ExportResult

        return ExportResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
