"""Writing files whole or not at all."""

import contextlib
import os
import pathlib
import tempfile

from tfconv_export.errors import UsageError


def check_target(path: os.PathLike, overwrite: bool, flag: str) -> pathlib.Path:
    """Makes sure, before any work is done, that `path` can be written.

    Args:
        path: the file to be written later.
        overwrite: whether it may exist already.
        flag: the name of the argument that gave `path`, for the message.

    Raises:
        UsageError: if not.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise UsageError(
            f"--{flag}={path} is a directory; give the name of a file."
        )
    if path.exists() and not overwrite:
        raise UsageError(
            f"--{flag}={path} exists already; pass --overwrite to replace it."
        )
    if not path.parent.is_dir():
        raise UsageError(
            f"--{flag}={path} cannot be written: there is no directory "
            f"{path.parent}; create it first."
        )
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tfconv-"):
            pass
    except OSError as error:
        raise UsageError(
            f"--{flag}={path} cannot be written: {error.strerror}."
        ) from error
    return path


def write_all(contents: dict[pathlib.Path, bytes]) -> None:
    """Writes every file beside its target, then renames them into place.

    Raises:
        UsageError: if one cannot be written; then no target has changed.
    """
    temporary = {}
    try:
        for path, content in contents.items():
            temporary[path] = _write_beside(path, content)
        for path, name in temporary.items():
            os.replace(name, path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}."
        ) from error
    finally:
        for name in temporary.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)


def _write_beside(path: pathlib.Path, content: bytes) -> str:
    descriptor, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}-", suffix=".tmp"
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp lets nobody else read; a new file follows the umask.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
    except BaseException:
        os.unlink(name)
        raise
    return name
