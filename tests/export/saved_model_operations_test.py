"""SavedModels that compute are loaded; what does more is refused unloaded."""

import pathlib
import re

import keras
import pytest
import tensorflow as tf
import tf_keras
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import c_api_util

from tfconv_export import loading
from tfconv_export import saved_model_operations
from tfconv_export.errors import UsageError

v1 = tf.compat.v1


def read(path) -> saved_model_pb2.SavedModel:
    return saved_model_pb2.SavedModel.FromString(
        pathlib.Path(path, "saved_model.pb").read_bytes()
    )


class Preprocessing(tf.Module):
    """Tables, strings, a spectrogram, random numbers, loops and a variable."""

    def __init__(self, vocabulary: str):
        super().__init__()
        from_file = tf.lookup.TextFileInitializer(
            vocabulary, tf.string, 0, tf.int64, -1, delimiter="\n"
        )
        self.static = tf.lookup.StaticVocabularyTable(from_file, 1)
        self.mutable = tf.lookup.experimental.MutableHashTable(
            tf.string, tf.int64, 0
        )
        self.dense = tf.lookup.experimental.DenseHashTable(
            tf.int64, tf.int64, 0, -1, -2
        )
        self.random = tf.random.Generator.from_seed(1)
        self.calls = tf.Variable(0)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def words(self, x):
        words = tf.strings.regex_replace(tf.strings.lower(x), "[!]", "")
        ids = self.static.lookup(words) + self.mutable.lookup(words)
        tf.debugging.assert_non_negative(ids)
        return {"ids": self.dense.lookup(ids)}

    @tf.function(input_signature=[tf.TensorSpec((None, 800), tf.float32)])
    def audio(self, x):
        self.calls.assign_add(1)
        spectrum = tf.abs(tf.signal.stft(x, 400, 160))
        spectrum += self.random.normal(()) + tf.random.uniform(())
        total = tf.zeros(())
        for step in tf.range(3):
            total += tf.cast(step, tf.float32)
        mel = tf.signal.linear_to_mel_weight_matrix(8, spectrum.shape[-1])
        return {
            "mel": tf.quantization.fake_quant_with_min_max_args(
                total * spectrum @ mel
            )
        }


def preprocessing(folder) -> None:
    (folder / "vocabulary").write_text("yes\nno\n")
    module = Preprocessing(str(folder / "vocabulary"))
    signatures = {"words": module.words, "audio": module.audio}
    tf.saved_model.save(module, folder / "model", signatures)


def saved_again(folder) -> None:
    preprocessing(folder)
    module = tf.saved_model.load(folder / "model")
    signatures = {"words": module.words, "audio": module.audio}
    tf.saved_model.save(module, folder / "again", signatures)


def recurrent(folder) -> None:
    model = keras.Sequential(
        [
            keras.Input((5, 2)),
            keras.layers.LSTM(2, return_sequences=True),
            keras.layers.Dropout(0.5),
            keras.layers.GRU(2),
        ]
    )
    model.compile("adam", "mse")
    model.export(folder / "model", verbose=False)


def keras_2(folder) -> None:
    words = tf_keras.layers.TextVectorization(output_sequence_length=5)
    words.adapt(["yes no"])
    model = tf_keras.Sequential(
        [
            tf_keras.Input((1,), dtype=tf.string),
            words,
            tf_keras.layers.Embedding(4, 2),
            tf_keras.layers.LSTM(2),
        ]
    )
    model.compile("adam", "mse")
    model.save(folder / "model", save_format="tf")


def of_tensorflow_1(folder, main_op=v1.tables_initializer) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 4))
        weights = v1.get_variable("w", (4, 2), use_resource=False)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder / "model"))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "serving_default": v1.saved_model.predict_signature_def(
                    {"x": x}, {"y": tf.nn.softmax(x @ weights)}
                )
            },
            main_op=main_op(),
        )
        builder.save()


@pytest.mark.parametrize(
    "save", [preprocessing, saved_again, recurrent, keras_2, of_tensorflow_1]
)
@pytest.mark.filterwarnings("ignore")  # TensorFlow 1's and Keras 2's own
def test_models_that_people_save_are_allowed(tmp_path, save):
    save(tmp_path)
    for path in tmp_path.glob("*/saved_model.pb"):
        saved_model_operations.check(read(path.parent), path.parent)


# Names of what an operation takes that say where something outside is.
_OUTSIDE = re.compile(r"file|path(?!s)|prefix|url|uri|address|dir$|descriptor")


def test_no_operation_that_takes_a_place_outside_is_allowed():
    known = c_api_util.ApiDefMap()
    allowed, refused = set(), set()
    for name in known.op_names():
        operation = known.get_op_def(name)
        takes = [arg.name for arg in (*operation.input_arg, *operation.attr)]
        if any(map(_OUTSIDE.search, takes)):
            try:
                check_one(name)
                allowed.add(name)
            except UsageError:
                refused.add(name)
    # It reads a vocabulary: the model's own file.
    assert allowed == {"InitializeTableFromTextFileV2"}
    assert {"ReadFile", "WriteFile", "SaveV2", "RestoreV2"} <= refused


@pytest.mark.parametrize(
    "name",
    ["PyFunc", "PrintV2", "Abort", "TFRecordDataset", "RemoteCall", "Unknown"],
)
def test_operation_that_does_more_than_compute_is_refused(name):
    with pytest.raises(
        UsageError, match=f"{name}', .*--unsafe_deserialization"
    ):
        check_one(name)


def check_one(operation: str) -> None:
    """Checks a model whose signature computes with this one operation."""
    saved = saved_model_pb2.SavedModel()
    saved.meta_graphs.add().graph_def.node.add(name="x", op=operation)
    saved_model_operations.check(saved, pathlib.Path("model"))


class Initialized(tf.saved_model.experimental.TrackableResource):
    """Something that loading a model initializes, with any operation."""

    def __init__(self, operation):
        super().__init__()
        self._operation = operation

    def _create_resource(self):
        return tf.raw_ops.MutableHashTableV2(
            key_dtype=tf.int64, value_dtype=tf.int64
        )

    def _initialize(self):
        self._operation()


def appends() -> None:
    tf.print("marker", output_stream="file://marker")


def writes_in_a_loop() -> None:
    def write(step):
        tf.io.write_file("marker", "marker")
        return step + 1

    tf.while_loop(lambda step: step < 1, write, [tf.constant(0)])


def moves_a_checkpoint() -> None:
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=["victim"], destination_prefix="marker"
    )


@pytest.mark.parametrize(
    "operation", [appends, writes_in_a_loop, moves_a_checkpoint]
)
def test_initializer_runs_only_once_it_is_allowed(
    tmp_path, monkeypatch, operation
):
    monkeypatch.chdir(tmp_path)
    tf.train.Checkpoint(v=tf.Variable(1.0)).write("victim")
    module = tf.Module()
    module.resource = Initialized(operation)
    module.serve = tf.function(
        lambda x: {"out": 2 * x},
        input_signature=[tf.TensorSpec((None, 4))],
    )
    tf.saved_model.save(module, "model", module.serve)
    with pytest.raises(UsageError, match="--unsafe_deserialization"):
        loading.load("model")
    assert not list(tmp_path.glob("marker*"))
    assert list(tmp_path.glob("victim*"))
    loading.load("model", unsafe_deserialization=True)
    assert list(tmp_path.glob("marker*"))


@pytest.mark.parametrize("use", ["save_tensor_name", "restore_op_name"])
@pytest.mark.filterwarnings("ignore")  # TensorFlow 1's own
def test_what_runs_is_no_savers_whatever_the_file_says(tmp_path, use):
    of_tensorflow_1(tmp_path, moves_a_checkpoint_once_loaded)
    (meta_graph,) = (saved := read(tmp_path / "model")).meta_graphs
    name = getattr(meta_graph.saver_def, use).partition(":")[0]
    for node in meta_graph.graph_def.node:
        if node.name == name:
            node.input.append("^merge")
    with pytest.raises(UsageError, match="MergeV2Checkpoints"):
        saved_model_operations.check(saved, tmp_path)
    # Once nothing else runs it: saving is not run, restoring is.
    meta_graph.collection_def.clear()
    meta_graph.signature_def.pop("__saved_model_init_op", None)
    if use == "save_tensor_name":
        saved_model_operations.check(saved, tmp_path)
    else:
        with pytest.raises(UsageError, match="MergeV2Checkpoints"):
            saved_model_operations.check(saved, tmp_path)


def moves_a_checkpoint_once_loaded() -> tf.Operation:
    return tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=["victim"], destination_prefix="x", name="merge"
    )


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd"])
def test_asset_outside_of_the_model_is_refused(name):
    saved = saved_model_pb2.SavedModel()
    saved.meta_graphs.add().asset_file_def.add(filename=name)
    with pytest.raises(UsageError, match="outside of its directory"):
        saved_model_operations.check(saved, pathlib.Path("model"))
