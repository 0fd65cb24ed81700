"""Writing files whole or not at all."""

import contextlib
import errno
import os
import pathlib
import shutil
import tempfile

from tfconv_export import process
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError

_FULL = [
    os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
]


@contextlib.contextmanager
def temporary_directory():
    """A directory for a while, and a sentence if the disk runs full in it.

    Raises:
        UsageError: if it does.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="tfconv-") as directory:
            yield directory
    except (UsageError, CheckError):
        raise
    except Exception as error:  # TensorFlow has several of its own
        for what in _FULL:
            if what in str(error):
                raise UsageError(
                    f"The directory for temporary files, "
                    f"{tempfile.gettempdir()}, cannot hold what is to be "
                    f"converted: {what}; set TMPDIR to a larger disk."
                ) from error
        raise


def check_target(path: os.PathLike, overwrite: bool, flag: str) -> pathlib.Path:
    """Makes sure, before any work is done, that `path` can be written.

    Args:
        path: the file to be written later.
        overwrite: whether it may exist already.
        flag: the name of the argument that gave `path`, for the message.

    Returns:
        The path to write to.

    Raises:
        UsageError: if not.
    """
    path = pathlib.Path(path)
    try:
        if path.is_symlink():  # What it points to is written, and it stays.
            path = path.resolve()
        if path.is_dir():
            raise UsageError(
                f"--{flag}={path} is a directory; give the name of a file."
            )
        if path.exists() and not path.is_file():
            raise UsageError(
                f"--{flag}={path} is not a file that could be replaced."
            )
        if path.exists() and not overwrite:
            raise UsageError(
                f"--{flag}={path} exists already; pass --overwrite to replace "
                "it."
            )
        if not path.parent.is_dir():
            raise UsageError(
                f"--{flag}={path} cannot be written: there is no directory "
                f"{path.parent}; create it first."
            )
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tfconv-"):
            pass
    except OSError as error:
        raise UsageError(
            f"--{flag}={path} cannot be written: {error.strerror}."
        ) from error
    return path


def check_directory(
    path: os.PathLike, overwrite: bool, flag: str
) -> pathlib.Path:
    """Makes sure that files can be written into the directory `path`.

    It need not exist yet, but the one that it is to be in must.

    Args:
        path: the directory.
        overwrite: whether it may have something in it already.
        flag: the name of the argument that gave `path`, for the message.

    Raises:
        UsageError: if not.
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_dir():
        raise UsageError(
            f"--{flag}={path} is a file; give the name of a directory."
        )
    if not path.exists():
        return check_target(path, overwrite, flag)
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".tfconv-"):
            pass
        if any(path.iterdir()) and not overwrite:
            raise UsageError(
                f"--{flag}={path} is not empty; pass --overwrite to replace "
                "what has the same names."
            )
    except OSError as error:
        raise UsageError(
            f"--{flag}={path} cannot be written: {error.strerror}."
        ) from error
    return path


def check_distinct(
    targets: dict[str, os.PathLike | None], inputs: dict[str, os.PathLike]
) -> None:
    """Makes sure that no target is an input, in one, or another target.

    Args:
        targets: files to be written, by the names of their arguments.
        inputs: files and directories to be read, likewise.

    Raises:
        UsageError: if one is.
    """
    seen = {flag: pathlib.Path(path).resolve() for flag, path in inputs.items()}
    for flag, path in targets.items():
        if path is None:
            continue
        resolved = pathlib.Path(path).resolve()
        for other, taken in seen.items():
            if resolved == taken or taken in resolved.parents:
                raise UsageError(
                    f"--{flag}={path} would overwrite --{other}={taken}; give "
                    "another name."
                )
        seen[flag] = resolved


def write_all(contents: dict[pathlib.Path, bytes]) -> None:
    """Writes every file beside its target, then renames them into place.

    A file's directory is made if it is missing.

    Raises:
        UsageError: if one cannot be written; then no target has changed.
    """
    process.end_if_interrupted()
    # Left in the opposite order: a directory goes when it is empty again.
    with (
        contextlib.ExitStack() as made,
        contextlib.ExitStack() as undo,
        contextlib.ExitStack() as cleanup,
    ):
        try:
            temporary = {}
            for path, content in contents.items():
                if not path.parent.exists():
                    path.parent.mkdir()
                    made.callback(_remove, path.parent)
                temporary[path] = _write_beside(path, content)
                cleanup.callback(_unlink, temporary[path])
            for path, name in temporary.items():
                undo.callback(_restore, path, _keep(path, cleanup))
                os.replace(name, path)
        except OSError as error:
            undo.close()
            raise UsageError(
                f"{path} cannot be written: {error.strerror}."
            ) from error
        except BaseException:
            undo.close()
            raise
        undo.pop_all()
        made.pop_all()


def _keep(path: pathlib.Path, cleanup: contextlib.ExitStack) -> str | None:
    """A second name for what is at `path` now, or `None` if nothing is."""
    if not path.exists():
        return None
    name = tempfile.mktemp(dir=path.parent, prefix=f".{path.name}-")
    cleanup.callback(_unlink, name)
    try:
        os.link(path, name)
    except OSError:  # not every file system has second names
        shutil.copy2(path, name)
    return name


def _restore(path: pathlib.Path, name: str | None) -> None:
    if name is None:
        _unlink(path)
    else:
        os.replace(name, path)


def _unlink(path: "os.PathLike | str") -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _remove(directory: pathlib.Path) -> None:
    """Removes what we made; not if someone else has put something there."""
    with contextlib.suppress(OSError):
        directory.rmdir()


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
