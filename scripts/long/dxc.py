"""Compiles a folder of HLSL kernels to DXIL: dxc.py LIBDXCOMPILER FOLDER RESULTS

FOLDER has a list.tsv: file, entry point, constants. RESULTS becomes a table of what came out."""

import ctypes
import os
import sys
import uuid
from pathlib import Path

CLASS_OF_COMPILER = "73e22d93-e6ce-47f3-b5bf-f0664f39c1b0"
INTERFACE_OF_COMPILER = "228b4687-5a6a-4730-900c-9702b2203f54"
INTERFACE_OF_RESULT = "58346cda-dde7-4497-9461-6f87af5e0659"
UTF8 = 65001
# On Linux an object of COM has a virtual destructor, which is two entries in its table after IUnknown's three.
FIRST_METHOD = 5


class Text(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("encoding", ctypes.c_uint32)]


def identifier(text):
    return (ctypes.c_char * 16).from_buffer_copy(uuid.UUID(text).bytes_le)


def call(thing, method, result, *arguments):
    """A method of a COM object, by its place after IUnknown's; arguments are ctypes values."""
    table = ctypes.cast(thing, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))).contents
    kind = ctypes.CFUNCTYPE(result, ctypes.c_void_p, *(type(one) for one in arguments))
    return kind(table[FIRST_METHOD + method])(thing, *arguments)


def address(of):
    return ctypes.c_void_p(ctypes.addressof(of))


def contents(blob):
    if not blob:
        return b""
    size = call(blob, 1, ctypes.c_size_t)
    return ctypes.string_at(call(blob, 0, ctypes.c_void_p), size) if size else b""


def compiled(compiler, text, entry):
    """DXIL and nothing, or nothing and what the compiler said."""
    kept = ctypes.create_string_buffer(text, len(text))
    source = Text(ctypes.addressof(kept), len(text), UTF8)
    options = ["-E", entry, "-T", "cs_6_2", "-HV", "2018", "-O3", "-no-warnings", "-enable-16bit-types"]
    words = (ctypes.c_wchar_p * len(options))(*options)
    interface, result = identifier(INTERFACE_OF_RESULT), ctypes.c_void_p()
    failed = call(
        compiler, 0, ctypes.c_int32, address(source), address(words), ctypes.c_uint32(len(options)),
        ctypes.c_void_p(), address(interface), address(result),
    )
    if failed:
        return b"", f"it did not run: {failed & 0xFFFFFFFF:#x}"
    status, code, said = ctypes.c_int32(), ctypes.c_void_p(), ctypes.c_void_p()
    call(result, 0, ctypes.c_int32, address(status))
    call(result, 1, ctypes.c_int32, address(code))
    call(result, 2, ctypes.c_int32, address(said))
    if status.value < 0:
        return b"", " ".join(contents(said).decode(errors="replace").split())[:300]
    return contents(code), ""


def main(library, folder, results):
    compiler = ctypes.c_void_p()
    made = ctypes.CDLL(library).DxcCreateInstance(
        identifier(CLASS_OF_COMPILER), identifier(INTERFACE_OF_COMPILER), ctypes.byref(compiler)
    )
    if made:
        sys.exit(f"{library}: no compiler in it: {made & 0xFFFFFFFF:#x}")
    rows, refused = ["file\tentry point\tDXIL\tconstants"], 0
    for line in (Path(folder) / "list.tsv").read_text().splitlines():
        file, entry, constants = line.split("\t")
        code, said = compiled(compiler, (Path(folder) / file).read_bytes(), entry)
        good = code.startswith(b"DXBC")
        refused += not good
        rows.append("\t".join([file, entry, f"{len(code)} bytes" if good else f"REFUSED: {said}", constants]))
        if not good:
            print(f"{file}: {entry}: {said or code[:4]}", file=sys.stderr)
    Path(results).write_text("\n".join(rows) + "\n")
    print(f"{len(rows) - 1 - refused} of {len(rows) - 1} kernels compiled to DXIL; {results}", file=sys.stderr)
    sys.stderr.flush()
    # The library's own destructors fail.
    os._exit(1 if refused or len(rows) == 1 else 0)


main(*sys.argv[1:])
