"""One exact text for each value, whichever reader it came from: see `canonical_sql` in src/compare.rs."""

import json
import struct
import uuid

import pyarrow as pa


def canonical(column):
    """The values of an Arrow column as texts; lists as lists of them."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name != "arrow.uuid":
            raise TypeError(f"no canonical form for {kind}")
        return [None if v is None else str(v) for v in column.to_pylist()]
    if pa.types.is_boolean(kind):
        return [None if v is None else "true" if v else "false" for v in column.to_pylist()]
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return [None if v is None else str(v) for v in column.to_pylist()]
    if pa.types.is_floating(kind):
        form, nan = (">f", "7fc00000") if kind == pa.float32() else (">d", "7ff8000000000000")
        return [None if v is None else nan if v != v else struct.pack(form, v).hex() for v in column.to_pylist()]
    if pa.types.is_decimal(kind):
        return [None if v is None else format(v, "f") for v in column.to_pylist()]
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16:
        return [None if v is None else str(uuid.UUID(bytes=v)) for v in column.to_pylist()]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return [None if v is None else v.hex() for v in column.to_pylist()]
    if pa.types.is_date32(kind):
        return canonical(column.cast(pa.int32()))
    if pa.types.is_time64(kind) or pa.types.is_timestamp(kind):
        # Nanoseconds are a type of their own: their count is another, and so seen.
        if kind.unit != "us" and not (kind.unit == "ns" and pa.types.is_timestamp(kind)):
            raise TypeError(f"unexpected unit: {kind}")
        return canonical(column.cast(pa.int64()))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lists = []
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            values, ends = canonical(chunk.values), chunk.offsets.to_pylist()
            valid = chunk.is_valid().to_pylist()
            lists += [values[a:b] if there else None for a, b, there in zip(ends, ends[1:], valid)]
        return lists
    return [None if v is None else json.dumps(v, default=str) for v in column.to_pylist()]
