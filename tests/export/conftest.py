"""Fixtures of several of these tests."""

import re
import shutil
import tempfile

import numpy as np
import pytest

import tfconv_export
from tests.export import command
from tests.export import models
from tfconv_export import conversion
from tfconv_export import metadata


@pytest.fixture
def offer(monkeypatch, tmp_path):
    """Exports a model of which the converter makes what we say it does.

    Gives the names of the checks that fail, "LiteRT" for all that come from
    running the file; none if it is written.
    """

    def run(model, content, depthwise_ops=2, **options) -> set[str]:
        monkeypatch.setattr(
            conversion,
            "convert",
            lambda *_, **__: conversion.Conversion(content, depthwise_ops),
        )
        path = tmp_path / "model.tflite"
        try:
            options.setdefault("representative_data", models.DATA)
            result = tfconv_export.export(model, path, **options)
        except tfconv_export.CheckError as error:
            assert not list(tmp_path.iterdir())
            failed = [check.name for check in error.result.failed]
            assert failed
            for name in failed:
                assert name in str(error)
            return {"LiteRT" if "LiteRT" in name else name for name in failed}
        written = path.read_bytes()
        assert written == metadata.add(content, metadata.read(written))
        assert not result.failed
        return set()

    return run


@pytest.fixture(scope="module")
def convert(tmp_path_factory):
    """The exporter's own file of a model."""

    def make(model, quantize="none", **options) -> bytes:
        options.setdefault("representative_data", models.DATA)
        result = tfconv_export.export(
            model,
            tmp_path_factory.mktemp("good") / "model.tflite",
            quantize=quantize,
            **options,
        )
        with open(result.output, "rb") as file:
            return file.read()

    return make


@pytest.fixture(scope="session")
def good_files(tmp_path_factory):
    """A directory with one of each file that the command reads."""
    directory = tmp_path_factory.mktemp("good")
    model = models.network()
    model.save(directory / "model.keras")
    model.save(directory / "model.h5")
    model.export(directory / "saved_model", verbose=False)
    models.network(steps=None).save(directory / "open.keras")
    np.save(directory / "data.npy", models.DATA)
    np.savez(directory / "data.npz", x=models.DATA)
    return directory


@pytest.fixture
def workplace(good_files, tmp_path, monkeypatch):
    """A copy of them to work in, with the folder for temporary files inside."""
    directory = tmp_path / "work"
    shutil.copytree(good_files, directory)
    (directory / "tmp").mkdir()
    (directory / "existing.tflite").write_bytes(b"what was there before")
    monkeypatch.setattr(tempfile, "tempdir", str(directory / "tmp"))
    monkeypatch.chdir(directory)
    # Bazel sets it for what it runs.
    monkeypatch.delenv("BUILD_WORKING_DIRECTORY", raising=False)
    return directory


@pytest.fixture
def run(workplace, monkeypatch, capfd):
    """Runs the command in the workplace, with these arguments."""

    def run_command(*arguments: str) -> command.Outcome:
        return command.run(monkeypatch, capfd, *arguments)

    return run_command


@pytest.fixture
def refused(workplace, run):
    """Runs the command; gives its one sentence if it refuses as it should."""

    def refuse(*arguments: str) -> str:
        before = command.snapshot(workplace)
        outcome = run(*arguments)
        assert command.snapshot(workplace) == before
        assert outcome.stdout == ""
        assert re.fullmatch(r"tfconv-export: [^\n]+\n", outcome.stderr), (
            outcome.stderr
        )
        assert outcome.status == 2
        sentence = outcome.stderr.strip()
        longest = max(map(len, arguments))
        assert len(sentence) < 400 or longest > 400, "a sentence, not a page"
        return sentence

    return refuse
