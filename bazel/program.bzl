"""Programs that run where their user stands."""

load("@rules_python//python:defs.bzl", "py_binary")

# `bazel run` starts a program among its runfiles, and Python puts the folder of
# this file on the module path; neither is what the program's user means.
_MAIN = """\
import os
import sys

del sys.path[0]
sys.argv[0] = "{name}"
os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))

from {module} import {function}

sys.exit({function}())
"""

def _main_impl(ctx):
    module, function = ctx.attr.entry_point.split(":")
    ctx.actions.write(
        ctx.outputs.main,
        _MAIN.format(name = ctx.attr.program, module = module, function = function),
    )

_main = rule(
    implementation = _main_impl,
    attrs = {
        "entry_point": attr.string(mandatory = True),
        "program": attr.string(mandatory = True),
    },
    outputs = {"main": "%{name}.py"},
)

def python_program(name, entry_point, deps, **kwargs):
    """A py_binary that calls one function, as a pip console script does.

    Relative paths on its command line count from the user's working directory,
    under `bazel run` too.

    Args:
      name: the target's name.
      entry_point: "module:function".
      deps: the library that has the module.
      **kwargs: as for py_binary.
    """
    main = name.replace("-", "_") + "_main"
    _main(
        name = main,
        entry_point = entry_point,
        program = name,
    )
    py_binary(
        name = name,
        srcs = [":%s.py" % main],
        main = ":%s.py" % main,
        deps = deps,
        **kwargs
    )
