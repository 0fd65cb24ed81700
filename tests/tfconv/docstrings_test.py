"""The examples in the docstrings do what they say."""

import doctest
import importlib
import inspect
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv

MODULES = [
    module.name for module in pkgutil.walk_packages(tfconv.__path__, "tfconv.")
]


def examples(module):
    return doctest.DocTestFinder(exclude_empty=True).find(
        module,
        globs={"tfconv": tfconv, "keras": keras, "np": np, "tf": tf},
    )


@pytest.mark.parametrize("name", ["tfconv", *MODULES])
def test_examples_run_and_print_what_they_show(name):
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report = []
    for example in examples(importlib.import_module(name)):
        runner.run(example, out=report.append)
    assert not "".join(report)


@pytest.mark.parametrize("name", tfconv.__all__)
def test_everything_public_has_an_example_and_describes_its_arguments(name):
    public = getattr(tfconv, name)
    docstring = inspect.getdoc(public)
    assert ">>> " in docstring
    for argument in inspect.signature(public).parameters:
        assert f"{argument}:" in docstring


def test_there_are_examples_to_run():
    found = [
        example.name
        for name in MODULES
        for example in examples(importlib.import_module(name))
        if example.examples
    ]
    assert len(found) >= len(tfconv.__all__)
