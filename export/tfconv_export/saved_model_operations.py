"""Which operations a SavedModel may hold: such as compute, and no others.

Loading one runs its initializers, and converting it evaluates its constants:
an operation that writes a file would do so before anyone saw the model.
"""

import fnmatch
import functools
import pathlib
from collections.abc import Iterable
from collections.abc import Iterator

from tensorflow.core.framework import node_def_pb2
from tensorflow.core.framework import variable_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from tfconv_export.errors import UsageError

# TensorFlow calls stateless what only computes; but also some that read files,
# run code of others, or end the process.
_NOT_STATELESS = """
    _* *Dataset* *Snapshot* Abort Barrier* BatchFunction Copy CopyHost Debug*
    DecodeProto* DTensor* EncodeProto* GenerateVocabRemapping ImmutableConst
    InitializeTableFromTextFile MatchingFiles Mlir* PyFunc* Queue* ReadFile
    Reader* Sdca* TPU* Tpu* XlaCustomCall* XlaLaunch*
"""
# Their state ends with the process: variables, tables, lists, random numbers;
# and the control of them.
_HARMLESS_STATE = """
    AllCandidateSampler AnonymousHashTable AnonymousMutable* Assert
    Assign*VariableOp Case CheckNumerics* CudnnRNN* DestroyResourceOp
    DeviceIndex DisableCopyOnRead Empty GuaranteeConst HashTable HashTableV2 If
    InitializeTableFromTextFileV2 InitializeTableV2 IteratorGetNext*
    LearnedUnigramCandidateSampler LogUniformCandidateSampler LookupTable*
    Multinomial MutableDenseHashTable* MutableHashTable* NonDeterministicInts
    ParameterizedTruncatedNormal RandomCrop RandomGamma RandomPoisson*
    RandomShuffle RandomStandardNormal RandomUniform* ReadVariableOp
    ResourceApply* ResourceCountUpTo ResourceGather* ResourceScatter*
    ResourceSparseApply* ResourceStridedSliceAssign RngReadAndSkip RngSkip
    SampleDistortedBoundingBox* Stack* Stateful* StatelessRandomGetAlg
    TemporaryVariable TensorArray* ThreadUnsafeUnigramCandidateSampler
    TruncatedNormal UniformCandidateSampler VarHandleOp VarIsInitializedOp
    Variable VariableShape VariableV2 While
"""
_READS_CHECKPOINTS = ("Restore", "RestoreSlice", "RestoreV2")
_WRITES_CHECKPOINTS = ("MergeV2Checkpoints", "Save", "SaveSlices", "SaveV2")
# It holds a program of StableHLO, which may call code by its name.
_PROGRAM = "XlaCallModule"


def check(saved: saved_model_pb2.SavedModel, path: pathlib.Path) -> None:
    """Refuses a SavedModel that could do more than compute.

    The operations that save and restore checkpoints are allowed where the
    model's saver has them, and nothing else that is run has.

    It is no sandbox: that a graph takes no time or memory without end cannot
    be told by looking.

    Args:
        saved: what its file says.
        path: of its directory, for messages.

    Raises:
        UsageError: if it holds such an operation, or names an asset outside of
            its directory.
    """
    for meta_graph in saved.meta_graphs:
        for asset in meta_graph.asset_file_def:
            if pathlib.PurePath(asset.filename).name != asset.filename:
                raise UsageError(
                    f"--model={path} names the asset {asset.filename!r}, which "
                    "is outside of its directory; save the model again."
                )
        graph = _Graph(meta_graph)
        saver = meta_graph.saver_def
        saving = [saver.save_tensor_name]
        restoring = [saver.restore_op_name, saver.filename_tensor_name]
        writes = graph.used_only_for(saving)
        reads = graph.used_only_for(saving + restoring)
        for place, node in graph.nodes():
            if not (
                _computes_only(node)
                or node.op in graph.functions
                or (node.op in _READS_CHECKPOINTS and place in reads)
                or (node.op in _WRITES_CHECKPOINTS and place in writes)
            ):
                raise UsageError(
                    f"--model={path} holds the operation {node.op!r}, which is "
                    "not known to do nothing but compute; save the model "
                    "without it, or pass --unsafe_deserialization if you "
                    "trust where it comes from."
                )


def _computes_only(node: node_def_pb2.NodeDef) -> bool:
    if node.op == _PROGRAM:
        return b"custom_call" not in node.attr["module"].s
    definition = op_def_registry.get(node.op)
    if definition is None:
        return False
    if definition.is_stateful:
        return _is_one_of(node.op, _HARMLESS_STATE)
    return not _is_one_of(node.op, _NOT_STATELESS)


@functools.cache
def _is_one_of(operation: str, patterns: str) -> bool:
    return any(
        fnmatch.fnmatchcase(operation, pattern) for pattern in patterns.split()
    )


class _Graph:
    """Index of what uses what in a graph and its library of functions.

    A place is the name of a node of the graph itself, or of a function in
    parentheses.

    Attributes:
        functions: the names of the functions.
    """

    def __init__(self, meta_graph: meta_graph_pb2.MetaGraphDef):
        self._meta_graph = meta_graph
        library = meta_graph.graph_def.library
        self.functions = {
            function.signature.name: function.node_def
            for function in library.function
        }
        self._uses = {
            node.name: [*map(_node, node.input), *self._called([node])]
            for node in meta_graph.graph_def.node
        }
        for name, nodes in self.functions.items():
            self._uses[f"({name})"] = self._called(nodes)
        for gradient in library.gradient:
            place = f"({gradient.function_name})"
            self._uses.setdefault(place, []).append(
                f"({gradient.gradient_func})"
            )

    def nodes(self) -> Iterator[tuple[str, node_def_pb2.NodeDef]]:
        """All there are, with their places."""
        for node in self._meta_graph.graph_def.node:
            yield node.name, node
        for function in self._meta_graph.graph_def.library.function:
            for node in function.node_def:
                yield f"({function.signature.name})", node

    def used_only_for(self, tensors: Iterable[str]) -> set[str]:
        """The places that nothing else needs which is run, or may be."""
        used = self._needed_for(map(_node, tensors))
        return used - self._needed_for(
            [
                *(place for place in self._uses if place not in used),
                *self._run(),
            ]
        )

    def _run(self) -> Iterator[str]:
        """The places that loading the model, or calling it, begins with."""
        meta_graph = self._meta_graph
        for signature in meta_graph.signature_def.values():
            for info in (
                *signature.inputs.values(),
                *signature.outputs.values(),
            ):
                yield from map(_node, _tensors(info))
        for collection in meta_graph.collection_def.values():
            yield from map(_node, collection.node_list.value)
            for value in collection.bytes_list.value:
                yield from map(_node, _initializers(value))
        for name in meta_graph.object_graph_def.concrete_functions:
            yield f"({name})"

    def _needed_for(self, places: Iterable[str]) -> set[str]:
        found, waiting = set(), list(places)
        while waiting:
            place = waiting.pop()
            if place not in found:
                found.add(place)
                waiting.extend(self._uses.get(place, ()))
        return found

    def _called(self, nodes: Iterable[node_def_pb2.NodeDef]) -> list[str]:
        """The functions that nodes name, in whatever attribute."""
        names = [node.op for node in nodes]
        for node in nodes:
            for value in node.attr.values():
                names.append(value.func.name)
                names.extend(function.name for function in value.list.func)
        return [f"({name})" for name in names if name in self.functions]


def _tensors(info: meta_graph_pb2.TensorInfo) -> Iterator[str]:
    yield info.name
    yield info.coo_sparse.values_tensor_name
    yield info.coo_sparse.indices_tensor_name
    yield info.coo_sparse.dense_shape_tensor_name
    for component in info.composite_tensor.components:
        yield from _tensors(component)


def _initializers(value: bytes) -> Iterator[str]:
    """The tensors that a variable of TensorFlow 1 begins with, if it is one."""
    try:
        variable = variable_pb2.VariableDef.FromString(value)
    except Exception:  # of protobuf: it is something else
        return
    yield variable.initializer_name
    yield variable.initial_value_name


def _node(tensor: str) -> str:
    """The name of the node that makes a tensor."""
    return tensor.lstrip("^").partition(":")[0]
