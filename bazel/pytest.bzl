"""Bazel tests from files written for pytest."""

load("@rules_python//python:defs.bzl", "py_library", "py_test")

def _pytest_test(name, src, data, deps, args = [], **kwargs):
    py_test(
        name = name,
        srcs = [src, "//bazel:pytest_main.py"],
        main = "//bazel:pytest_main.py",
        data = data + ["//:pyproject.toml"],
        args = args + ["$(location %s)" % src],
        deps = deps + ["@pypi//pytest"],
        **kwargs
    )

def pytest_folder(deps, data = [], overrides = {}):
    """Makes one test of each `*_test.py` in the folder, named after the file.

    The folder's other Python files (helpers, conftest.py, __init__.py) become
    `:helpers`, which the tests here and in the folders below can import.

    Args:
      deps: what the tests and the helpers import; pytest is added.
      data: what they read; pyproject.toml, pytest's settings, is added.
      overrides: from a test's name to a dict of what is particular to it:
        size, shard_count, tags, and the like; deps and data are added to the
        folder's.
    """
    py_library(
        name = "helpers",
        testonly = True,
        srcs = native.glob(["*.py"], exclude = ["*_test.py"], allow_empty = True),
        data = data,
        visibility = ["//tests:__subpackages__"],
        deps = deps,
    )
    folders = native.package_name().split("/")
    helpers = [
        "//%s:helpers" % "/".join(folders[:depth + 1])
        for depth in range(len(folders))
    ]
    names = [
        src[:-len(".py")]
        for src in native.glob(["*_test.py"], allow_empty = True)
    ]
    for name in overrides:
        if name not in names:
            fail("overrides for %s, but there is no %s.py here" % (name, name))
    for name in names:
        override = dict(overrides.get(name, {}))
        _pytest_test(
            name = name,
            src = name + ".py",
            data = data + override.pop("data", []),
            deps = helpers + deps + override.pop("deps", []),
            **override
        )
