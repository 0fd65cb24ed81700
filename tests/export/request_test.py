"""Arguments that contradict one another, or would do nothing."""

import pytest

GOOD = ("--model=model.keras", "--output=out.tflite")
DATA = "--representative_data=data.npy"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--require_npu",), "ethos-u55-128"),
        (("--num_evaluation_examples=4", DATA), "--evaluation_data"),
        (("--max_accuracy_drop=1", DATA), "--evaluation_data"),
        (("--max_accuracy_drop=-5", DATA), "negative"),
        (("--num_calibration_examples=4",), "--representative_data"),
        (("--representative_key=x",), "--representative_data"),
        (("--feature_spec=a:float32:3",), "--representative_data"),
        ((DATA, "--data_function=a:b"), "give one of them"),
        (("--min_sqnr_db=nan", "--quantize=int8", DATA), "finite"),
        (("--min_sqnr_db=inf", "--quantize=int8", DATA), "finite"),
        (("--min_sqnr_db=30", DATA), "--quantize=none"),
        (("--auto_float_layers", "--quantize=int8", DATA), "--min_sqnr_db"),
        (
            ("--auto_float_layers", "--min_sqnr_db=30", "--quantize=float16"),
            "int8 or int16x8",
        ),
        (("--target=micro", "--quantize=float16"), "int8"),
        (("--target=ethos-u55-128",), "int8"),
        (("--target=avr",), "litert, micro, ethos-u55-32"),
        (("--data_function=data.npy",), "module:function"),
        (("--data_function=nowhere:f",), "--data_function=nowhere:f"),
    ],
)
def test_request_that_makes_no_sense(refused, arguments, reason):
    assert reason in refused(*GOOD, *arguments)


def test_endless_function_is_refused(refused, workplace, monkeypatch):
    from tfconv_export.data import readers

    monkeypatch.setattr(readers, "_MAX_STREAMED", 1000)
    (workplace / "endless.py").write_text(
        "import numpy as np\n"
        "def examples():\n"
        "    while True:\n"
        "        yield np.zeros((40, 4), np.float32)\n"
    )
    sentence = refused(*GOOD, "--data_function=endless.py:examples")
    assert "more than 1,000 examples: is it endless?" in sentence


@pytest.mark.parametrize("flag", ["data_function", "custom_module"])
def test_code_that_exits_is_a_sentence(refused, workplace, flag):
    (workplace / "leaves.py").write_text(
        "import sys\ndef examples():\n    sys.exit(0)\n"
        + "examples()\n" * (flag == "custom_module")
    )
    function = ":examples" * (flag == "data_function")
    sentence = refused(*GOOD, f"--{flag}=leaves.py{function}")
    assert "SystemExit" in sentence
