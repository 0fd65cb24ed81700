"""Text from anywhere, such as names in files, made fit for a terminal."""


def clean(text: str) -> str:
    """The text without characters that nothing can show."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else "\ufffd"
        for char in text
    )


def one_line(text: str) -> str:
    """The text, clean, with spaces for line breaks and the like."""
    return " ".join(clean(text).split())


def elide(text: str, length: int) -> str:
    """The text on one line; a long one without its middle."""
    if len(text) > 4 * length:  # or cleaning takes its time
        text = text[: 2 * length] + text[-2 * length :]
    text = one_line(text)
    if len(text) <= length:
        return text
    tail = length // 2
    return f"{text[: length - tail - 1]}…{text[-tail:]}"
