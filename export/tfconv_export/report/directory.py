"""The files of a report directory."""

from tfconv_export.flatbuffer import Facts
from tfconv_export.report import as_json
from tfconv_export.report import model_explorer
from tfconv_export.report import page
from tfconv_export.report import pictures
from tfconv_export.result import ExportResult
from tfconv_export.streaming_result import StreamingResult

# The files that `contents` may make.
MEMBERS = (
    "report.html",
    "report.json",
    "model_explorer_node_data.json",
    *(f"{name}.png" for name in pictures.NAMES),
)


def contents(
    result: ExportResult,
    facts: Facts | None,
    stream: StreamingResult | None = None,
) -> dict[str, bytes]:
    """What a report directory holds.

    Args:
        result: an `ExportResult`, passed or failed.
        facts: of the file, or `None` if there is none.
        stream: of the streaming file beside it, or `None` if there is none.

    Returns:
        dict from a file's name to its content: `report.html`, which needs none
        of the others, `report.json`, the pictures as `.png` and
        `model_explorer_node_data.json`.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    images = pictures.draw(result, facts)
    texts = {
        "report.html": page.render(result, facts, images, stream),
        "report.json": as_json.to_json(result, facts, stream),
        "model_explorer_node_data.json": model_explorer.node_data(
            result, facts
        ),
    }
    # A path that is not Unicode arrives with surrogates, which cannot be
    # encoded.
    files = {
        name: text.encode(errors="replace") for name, text in texts.items()
    }
    return files | {f"{name}.png": image for name, image in images.items()}
