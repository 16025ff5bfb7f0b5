"""The weights of a BERT in an ONNX file that PyTorch exported from a sentence-transformers model.

An ONNX file is a protobuf message, whose fields have numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BERT = "model.0.auto_model."
"""The first module's BERT in the names of the export."""

MODEL_GRAPH = 7
GRAPH_NODES, GRAPH_TENSORS = 1, 5
NODE_INPUTS, NODE_NAME = 1, 3
TENSOR_SHAPE, TENSOR_NAME, TENSOR_DATA = 1, 8, 9


def read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, the lowest first, and the position after it."""
    value, shift = 0, 0
    while message[at] & 0x80:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | message[at] << shift, at + 1


def read_fields(message: memoryview) -> dict[int, list[Any]]:
    """Field number -> values: integers, or bytes of strings and messages. There must be no fixed-width fields."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(message):
        key, at = read_varint(message, at)
        value, at = read_varint(message, at)
        if key & 7 == 2:  # the value is a length
            start, at = at, at + value
            fields.setdefault(key >> 3, []).append(message[start:at])
        else:
            fields.setdefault(key >> 3, []).append(value)
    return fields


def text(value: memoryview) -> str:
    """A string field."""
    return bytes(value).decode()


def read_bert(onnx: bytes) -> dict[str, NDArray[np.float32]]:
    """The weights, float32, under their names in a BertModel.

    The export transposes the matrix of a linear layer and drops its name. The MatMul node that reads the matrix has the
    layer's path as its name.
    """
    [graph] = read_fields(memoryview(onnx))[MODEL_GRAPH]
    parts = read_fields(graph)
    weights = {}
    for tensor in map(read_fields, parts[GRAPH_TENSORS]):
        data = np.frombuffer(tensor[TENSOR_DATA][0], "<f4")
        weights[text(tensor[TENSOR_NAME][0])] = data.reshape(tensor[TENSOR_SHAPE])
    for node in map(read_fields, parts[GRAPH_NODES]):
        *layer, operator = text(node[NODE_NAME][0]).removeprefix("/model/").split("/")
        if operator == "MatMul" and (matrix := weights.get(text(node[NODE_INPUTS][1]))) is not None:
            weights[".".join([*layer, "weight"])] = np.ascontiguousarray(matrix.T)
    return {name.removeprefix(BERT): tensor for name, tensor in weights.items() if name.startswith(BERT)}
