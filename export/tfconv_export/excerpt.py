"""A few operators of a TFLite file as a file of their own."""

import copy
from collections.abc import Sequence

from tfconv_export.quantization import flatbuffer_edit


def excerpt(model, operators: Sequence) -> bytes:
    """The file of some operators of the main subgraph.

    It takes what they take from others, and gives all that they make.

    Args:
        model: a `schema.ModelT`; it stays as it is.
        operators: `OperatorT`s of its main subgraph.
    """
    piece = copy.copy(model)
    piece.subgraphs = copy.deepcopy(model.subgraphs)
    piece.signatureDefs = piece.metadata = None
    main = piece.subgraphs[0]
    main.operators = copy.deepcopy(list(operators))
    main.inputs = taken(model, operators)
    main.outputs = [
        index for operator in operators for index in operator.outputs
    ]
    flatbuffer_edit.remove_unused(piece)
    return flatbuffer_edit.write(piece)


def taken(model, operators: Sequence) -> list[int]:
    """The tensors that some operators take from others, or from the caller."""
    main = model.subgraphs[0]
    own = {index for operator in operators for index in operator.outputs}
    # The others are constants, and states that an operator keeps.
    made = {*main.inputs}.union(*(other.outputs for other in main.operators))
    wanted = (index for operator in operators for index in operator.inputs)
    return list(dict.fromkeys(i for i in wanted if i in made - own))
