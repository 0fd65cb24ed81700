"""A few operators of a TFLite file as a file of their own."""

import copy
from collections.abc import Sequence

from tfconv_export.quantization import flatbuffer_edit

_OPERANDS = ("inputs", "outputs", "intermediates")


class Excerpts:
    """Makes files of the operators of another.

    Args:
        model: a `schema.ModelT`; it stays as it is.
    """

    def __init__(self, model):
        self._model = model
        main = model.subgraphs[0]
        # All others are constants, and states that an operator keeps.
        self._made = {*main.inputs}.union(
            *(operator.outputs for operator in main.operators)
        )

    def taken(self, operators: Sequence) -> list[int]:
        """The tensors that operators take from others, or from the caller.

        Args:
            operators: `OperatorT`s of the main subgraph.
        """
        own = {index for operator in operators for index in operator.outputs}
        wanted = (index for operator in operators for index in operator.inputs)
        return list(
            dict.fromkeys(i for i in wanted if i in self._made and i not in own)
        )

    def file(self, operators: Sequence) -> bytes:
        """The file of some operators.

        Its inputs are `taken`, and its outputs all that they make.

        Args:
            operators: `OperatorT`s of the main subgraph.
        """
        piece = copy.copy(self._model)
        piece.signatureDefs = piece.metadata = None
        main = copy.copy(self._model.subgraphs[0])
        piece.subgraphs = [main, *copy.deepcopy(self._model.subgraphs[1:])]
        main.inputs = self.taken(operators)
        main.outputs = [i for operator in operators for i in operator.outputs]
        main.operators = [copy.copy(operator) for operator in operators]
        self._renumber(main)
        flatbuffer_edit.remove_unused(piece)
        return flatbuffer_edit.write(piece)

    def _renumber(self, main) -> None:
        """Leaves only the tensors of its operators in a subgraph."""
        moved = {-1: -1}
        tensors = []
        for operator in main.operators:
            for field in _OPERANDS:
                indices = getattr(operator, field)
                if indices is None:
                    continue
                for index in indices:
                    if index not in moved:
                        moved[index] = len(tensors)
                        tensors.append(copy.copy(main.tensors[index]))
                setattr(operator, field, [moved[index] for index in indices])
        main.tensors = tensors
        main.inputs = [moved[index] for index in main.inputs]
        main.outputs = [moved[index] for index in main.outputs]
