"""Runs pytest the way Bazel asks a test to run."""

import os
import pathlib
import sys

_ENV = os.environ

# Nothing may be read from, or left in, the home or the working tree of whoever
# runs the test: Keras reads ~/.keras/keras.json, Hypothesis writes .hypothesis.
if "TEST_TMPDIR" in _ENV:
    _ENV["HOME"] = _ENV["TEST_TMPDIR"]
    _ENV["HYPOTHESIS_STORAGE_DIRECTORY"] = os.path.join(
        _ENV["TEST_TMPDIR"], "hypothesis"
    )

# Python put this file's own folder there, with the symlinks resolved: the
# source tree, not the runfiles.
del sys.path[0]

import pytest  # noqa: E402


class _Sharding:
    """Keeps every TEST_TOTAL_SHARDS-th test, from TEST_SHARD_INDEX on."""

    def pytest_collection_modifyitems(self, config, items):
        total = int(_ENV.get("TEST_TOTAL_SHARDS", "1"))
        index = int(_ENV.get("TEST_SHARD_INDEX", "0"))
        if "TEST_SHARD_STATUS_FILE" in _ENV:
            pathlib.Path(_ENV["TEST_SHARD_STATUS_FILE"]).touch()
        dropped = [item for i, item in enumerate(items) if i % total != index]
        if dropped:
            items[:] = items[index::total]
            config.hook.pytest_deselected(items=dropped)


def main(argv):
    args = ["-c", "pyproject.toml", "--rootdir=.", "-p", "no:cacheprovider"]
    if "XML_OUTPUT_FILE" in _ENV:
        args.append("--junitxml=" + _ENV["XML_OUTPUT_FILE"])
    if "TEST_TMPDIR" in _ENV:
        args.append("--basetemp=" + os.path.join(_ENV["TEST_TMPDIR"], "pytest"))
    only = _ENV.get("TESTBRIDGE_TEST_ONLY")  # bazel test --test_filter=...
    if only:
        args += ["-k", only]
    if _ENV.get("TESTBRIDGE_TEST_RUNNER_FAIL_FAST") == "1":
        args.append("--exitfirst")
    status = pytest.main(args + argv, plugins=[_Sharding()])
    if status == pytest.ExitCode.NO_TESTS_COLLECTED and (
        only or "TEST_TOTAL_SHARDS" in _ENV
    ):
        return 0  # A filter or a shard may leave this target nothing to do.
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
