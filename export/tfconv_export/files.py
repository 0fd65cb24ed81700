"""Writing files whole or not at all."""

import contextlib
import errno
import os
import pathlib
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable
from collections.abc import Iterator

from tfconv_export import locks
from tfconv_export import process
from tfconv_export import scratch
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason

# A path, after what messages call it: of what is written, the flag.
Named = tuple[str, os.PathLike | str]

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
        with scratch.folder() as directory:
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
            path = _followed(path, flag)
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
        _check_writable(path.parent)
        os.lstat(path)
    except FileNotFoundError:
        pass  # It is new, and its name is one that can be.
    except (OSError, ValueError) as error:
        raise _cannot_be_written(path, flag, error) from error
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

    Returns:
        The directory to write into.

    Raises:
        UsageError: if not.
    """
    path = pathlib.Path(path)
    try:
        if path.is_symlink():
            path = _followed(path, flag)
        if not path.exists():
            return check_target(path, overwrite, flag)
        if not path.is_dir():
            raise UsageError(
                f"--{flag}={path} is a file; give the name of a directory."
            )
        _check_writable(path)
        if any(path.iterdir()) and not overwrite:
            raise UsageError(
                f"--{flag}={path} is not empty; pass --overwrite to replace "
                "what has the same names."
            )
    except (OSError, ValueError) as error:
        raise _cannot_be_written(path, flag, error) from error
    return path


def _followed(path: pathlib.Path, flag: str) -> pathlib.Path:
    """Follows a link to what it points to in the end."""
    found = pathlib.Path(os.path.realpath(path))
    if found.is_symlink():
        raise UsageError(
            f"--{flag}={path} is a link that leads back to itself; give "
            "another name."
        )
    return found


def _check_writable(directory: pathlib.Path) -> None:
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".tfconv-"):
        pass


def _cannot_be_written(path, flag: str, error: Exception) -> UsageError:
    if isinstance(error, UsageError):
        return error
    return UsageError(f"--{flag}={path} cannot be written: {why(error)}.")


def why(error: OSError | ValueError) -> str:
    """Gives what the system says of a path that it does not take."""
    return getattr(error, "strerror", None) or reason(error)


_also_read: list[Named] = []


@contextlib.contextmanager
def also_read(files: Iterable[Named]) -> Iterator[None]:
    """Names files that were read before an export, for `check_unread`."""
    before = list(_also_read)
    _also_read.extend(files)
    try:
        yield
    finally:
        _also_read[:] = before


def check_distinct(targets: Iterable[Named]) -> None:
    """Makes sure that no two files to be written are one.

    On some file systems, names that differ in case only are one file.

    Raises:
        UsageError: if two are.
    """
    seen: dict[tuple, Named] = {}
    for flag, path in targets:
        place = _place(pathlib.Path(path))
        if place in seen:
            other, taken = seen[place]
            raise UsageError(
                f"--{flag} would write {path}, and --{other} would write "
                f"{taken}, over one another; give another name."
            )
        seen[place] = flag, path


def check_unread(targets: Iterable[Named], inputs: Iterable[Named]) -> None:
    """Makes sure that no file to be written is one that is read.

    Args:
        targets: files to be written.
        inputs: files and directories to be read.

    Raises:
        UsageError: if one is, or is in a directory that is read, or if what
            is to be read cannot even be looked at.
    """
    read: dict[tuple[int, int], str] = {}
    for name, path in (*inputs, *_also_read):
        try:
            read.setdefault(_identity(path), name)
        except (FileNotFoundError, NotADirectoryError):
            continue  # Who reads it says so.
        except (OSError, ValueError) as error:
            raise UsageError(f"{name} cannot be read: {why(error)}.") from error
    for flag, path in targets:
        for place in (path, *pathlib.Path(os.path.realpath(path)).parents):
            if not os.path.exists(place) or _identity(place) not in read:
                continue
            harm = "overwrite" if place == path else "be written into"
            raise UsageError(
                f"--{flag}={path} would {harm} {read[_identity(place)]}; give "
                "another name."
            )


def _identity(path: os.PathLike | str) -> tuple[int, int]:
    """The same for all names of a file, as links are, and for no other file."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _place(path: pathlib.Path) -> tuple:
    """The same for all paths to one entry of a directory, there or not."""
    path = pathlib.Path(os.path.realpath(path.parent)) / path.name
    missing = []
    while not path.exists() or not missing:
        missing.append(unicodedata.normalize("NFC", path.name).casefold())
        path = path.parent
    return *_identity(path), *missing


def write_all(
    contents: dict[pathlib.Path, bytes], overwrite: bool = True
) -> None:
    """Writes every file beside its target, then renames them into place.

    A file's directory is made if it is missing. Of two processes that write
    into the same directories, one renames all of its files first.

    Args:
        contents: from the files' paths to what is to be in them.
        overwrite: whether they may exist by now.

    Raises:
        UsageError: if one cannot be written; then no target has changed.
    """
    process.end_if_interrupted()
    made, undo, cleanup = (contextlib.ExitStack() for _ in range(3))
    path = None
    try:
        temporary = {}
        for path, content in contents.items():
            with process.uninterrupted():  # What is made is known to be.
                if not path.parent.exists():
                    path.parent.mkdir()
                    made.callback(_remove, path.parent)
                descriptor, name = tempfile.mkstemp(
                    dir=path.parent, prefix=f".{path.name}-", suffix=".tmp"
                )
                cleanup.callback(_unlink, name)
            _fill(descriptor, name, content)
            temporary[path] = name
        parents = {path.parent for path in contents}
        with locks.alone_in(parents), process.uninterrupted():
            for path, name in temporary.items():
                if path.exists() and not overwrite:
                    raise UsageError(
                        f"{path} was written by something else meanwhile; "
                        "pass --overwrite to replace it."
                    )
                undo.callback(_restore, path, _keep(path, cleanup))
                os.replace(name, path)
            undo.pop_all()
            made.pop_all()
            process.note_written()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}."
        ) from error
    finally:
        with process.uninterrupted():
            undo.close()
            cleanup.close()
            made.close()  # Last: a directory goes when it is empty again.


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


def _fill(descriptor: int, name: str, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    # mkstemp lets nobody else read; a new file follows the umask.
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(name, 0o666 & ~umask)
