"""What can go wrong in an export, as exceptions with one clear sentence."""


class UsageError(ValueError):
    """The request cannot be carried out: the caller has to change it.

    The command exits with status 2.
    """


class CheckError(RuntimeError):
    """The converted model failed a check, and nothing was written.

    The command exits with status 1.

    Attributes:
        result: the `ExportResult` that failed, or `None` when the converter
            made no file to check.
    """

    def __init__(self, message: str, result=None):
        super().__init__(message)
        self.result = result
