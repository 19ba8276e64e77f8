"""What was learned, added to the weights of a GGUF file: a new file, else as the old one.

A matrix that LoRA has touched is written as exact as it was, or with 8 bits a weight where it had
fewer: in the steps of 4 bits, most of what was learned would be rounded away.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import numpy

Delta = Callable[[], "numpy.ndarray"]  # a matrix, shaped and laid as in the file


def merge(source: Path, deltas: Mapping[str, Delta], target: Path) -> None:
    """Write ``source`` anew with something added to some of its matrices.

    All that it says of itself, and every other tensor, is byte for byte as it was. The matrices
    are made one by one, so no more than one is in memory.

    Args:
        deltas: by the names of the file.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, dequantize, quantize

    exact = {GGMLQuantizationType[name] for name in ("F32", "F16", "BF16")}
    reader = GGUFReader(source)
    alignment = int(reader.alignment)
    kinds = {
        one.name: GGMLQuantizationType.Q8_0
        if one.name in deltas and one.tensor_type not in exact
        else one.tensor_type
        for one in reader.tensors
    }
    with target.open("xb") as file:
        file.write(reader.data[: reader.tensors[0].field.offset].tobytes())
        offset = 0
        for one in reader.tensors:
            *what, _, _ = one.field.parts  # its name and shape; then type and place
            file.write(b"".join(part.tobytes() for part in what))
            file.write(struct.pack("<IQ", kinds[one.name], offset))
            block, size = GGML_QUANT_SIZES[kinds[one.name]]
            offset += _padded(int(one.n_elements) // block * size, alignment)
        _fill(file, alignment)
        for one in reader.tensors:
            data = one.data
            if delta := deltas.get(one.name):
                data = quantize(dequantize(data, one.tensor_type) + delta(), kinds[one.name])
            file.write(data.tobytes())
            _fill(file, alignment)


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _fill(file: BinaryIO, alignment: int) -> None:
    file.write(bytes(_padded(file.tell(), alignment) - file.tell()))
