"""Damaged files of each kind, read by what reads them in the command.

  python -m tests.export.fuzz --mutations=20000 --kinds=npy,npz

Each is read in a process with little memory, and within a few seconds: it must
be read, or refused with a sentence. Prints what was not, and exits with 1.
"""

import argparse
import mmap
import os
import pathlib
import random
import resource
import signal
import struct
import sys
import tempfile
import traceback

from tests.export import file_kinds
from tfconv_export.errors import UsageError

_MEMORY = 2 << 30
_SECONDS = 5.0
_EXTREMES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)


def mutate(whole: bytes, chance: random.Random) -> bytes:
    """Damages bytes once, twice or three times."""
    content = bytearray(whole)
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(content) + 1)
        end = min(len(content), start + chance.choice((1, 4, 16, 64, 1024)))
        how = chance.randrange(7)
        if how == 0:
            del content[start:]
        elif how == 1:
            content[start:start] = content[start:end] * chance.randint(1, 9)
        elif how == 2:
            del content[start:end]
        elif how == 3:
            other = chance.randrange(len(content) + 1)
            content[start:end] = content[other : other + end - start]
        elif how == 4:
            width = chance.choice((1, 2, 4, 8))
            start -= start % chance.choice((1, width))
            value = chance.choice(_EXTREMES) % 2 ** (8 * width)
            order = chance.choice(("little", "little", "big"))
            content[start : start + width] = value.to_bytes(width, order)
        else:
            for place in range(start, min(len(content), start + how - 4)):
                content[place] ^= 1 << chance.randrange(8)
    return bytes(content)


class Batch:
    """Reads damaged files of a kind in other processes, as long as it takes.

    Attributes:
        failures: strings, one for each file that was not read or refused.
        refused: int, how many were.
    """

    def __init__(
        self, name: str, kind: file_kinds.Kind, mutations: int, seed: int
    ):
        self._name, self._kind, self._seed = name, kind, seed
        # The place, how many were refused: of the process that reads.
        self._shared = mmap.mmap(-1, 16)
        self.failures = []
        start = 0
        while start < mutations:
            with tempfile.TemporaryFile("w+") as said:
                child = os.fork()
                if not child:
                    self._read(start, mutations, said)
                _, status = os.waitpid(child, 0)
                said.seek(0)
                self.failures += said.read().splitlines()
            start = struct.unpack("<qq", self._shared)[0] + 1
            if status:
                signum = os.WTERMSIG(status)
                how = signal.Signals(signum).name if signum else "exited"
                self.failures.append(f"{name} {start - 1}: {how}")
        self.refused = struct.unpack("<qq", self._shared)[1]

    def _read(self, start: int, end: int, said) -> None:
        _limit_memory()
        refused = struct.unpack("<qq", self._shared)[1]
        folder = tempfile.mkdtemp(prefix="fuzz-")
        path = pathlib.Path(folder, f"x{self._kind.suffix}")
        for place in range(start, end):
            self._shared[:] = struct.pack("<qq", place, refused)
            path.write_bytes(damaged(self._name, self._kind, self._seed, place))
            # Of the processor's time; and of the clock's, if it waits.
            signal.setitimer(signal.ITIMER_PROF, _SECONDS)
            signal.setitimer(signal.ITIMER_REAL, 40 * _SECONDS)
            try:
                self._kind.read(path)
            except UsageError as error:
                refused += 1
                if "\n" in str(error):
                    said.write(f"{self._name} {place}: several lines\n")
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                text = repr(error)[:200].replace("\n", " ")
                said.write(
                    f"{self._name} {place}: {text} in {where.filename}:"
                    f"{where.lineno}\n"
                )
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            said.flush()
        self._shared[:] = struct.pack("<qq", end - 1, refused)
        os._exit(0)


def _limit_memory() -> None:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def damaged(name: str, kind: file_kinds.Kind, seed: int, place: int) -> bytes:
    """The file of a place in a sequence of damaged ones."""
    chance = random.Random(f"{seed} {name} {place}")
    return kind.wrap(mutate(kind.whole, chance))


def _processor_seconds() -> float:
    """Sums the processor time of the processes that were waited for."""
    times = os.times()
    return times.children_user + times.children_system


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=500)
    parser.add_argument("--kinds", default="")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    known = file_kinds.kinds()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        for name in arguments.kinds.split(",") if arguments.kinds else known:
            start = _processor_seconds()
            count = arguments.mutations
            batch = Batch(name, known[name], count, arguments.seed)
            print(
                f"{name}: {count} read in "
                f"{_processor_seconds() - start:.1f} s, {batch.refused} "
                f"refused, {len(batch.failures)} failed",
                flush=True,
            )
            print(*batch.failures[:100], sep="\n", flush=True)
            failed += len(batch.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
