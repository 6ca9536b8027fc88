"""Writes fixtures/torch: small PyTorch files (torch.save and torch.jit.save) and what they hold, without PyTorch.

Python's own pickle writes what torch's does once classes with torch's names are at hand; the archive is a zip whose
entries are stored (TorchScript's code compressed), aligned to 64 bytes and closed by ZIP64 records, as PyTorch's writer
leaves it.
Usage: python3 scripts/make-torch-fixtures.py
       python3 scripts/make-torch-fixtures.py --torch DIR   (needs torch: the same files by torch itself, into DIR)
"""

import io
import json
import pathlib
import pickle
import struct
import sys
import types
import zlib
from collections import OrderedDict

FORMATS = {"F64": "<d", "F32": "<f", "F16": "<e", "I64": "<q"}
CLASSES = {"F64": "DoubleStorage", "F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage", "I64": "LongStorage"}
TORCH_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64"}


def module(name, **members):
    found = sys.modules.setdefault(name, types.ModuleType(name))
    for key, value in members.items():
        value.__module__, value.__qualname__ = name, key
        setattr(found, key, value)
    return found


class Storage:
    """Values side by side."""

    def __init__(self, dtype, values):
        self.dtype, self.values = dtype, values

    def bytes(self):
        if self.dtype == "BF16":  # the upper half of an f32; all values here are exact
            return b"".join(struct.pack("<f", value)[2:] for value in self.values)
        return b"".join(struct.pack(FORMATS[self.dtype], value) for value in self.values)


def rebuild_tensor(*_):
    raise NotImplementedError


def rebuild_parameter(*_):
    raise NotImplementedError


class Tensor:
    """A view of a storage; strides of None are those of side by side."""

    def __init__(self, storage, shape, strides=None, offset=0, parameter=False):
        if strides is None:
            strides, step = [], 1
            for length in reversed(shape):
                strides.insert(0, step)
                step *= length
        self.storage, self.shape, self.strides, self.offset = storage, tuple(shape), tuple(strides), offset
        self.parameter = parameter

    def __reduce_ex__(self, protocol):
        args = (self.storage, self.offset, self.shape, self.strides, False, OrderedDict())
        if not self.parameter:
            return rebuild_tensor, args
        inner = Tensor(self.storage, self.shape, self.strides, self.offset)
        return rebuild_parameter, (inner, True, OrderedDict())

    def expected(self):
        flat = []

        def walk(at, dims):
            if not dims:
                flat.append(self.storage.values[at])
            else:
                (length, stride), *rest = dims
                for i in range(length):
                    walk(at + i * stride, rest)

        walk(self.offset, list(zip(self.shape, self.strides)))
        return {"dtype": self.storage.dtype, "shape": list(self.shape), "values": flat}


class Pickler(pickle.Pickler):
    """Storages leave the pickle for entries of their own."""

    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.keys = {}
        self.storages = []

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        if id(value) not in self.keys:
            self.keys[id(value)] = str(len(self.storages))
            self.storages.append(value)
        kind = getattr(sys.modules["torch"], CLASSES[value.dtype])
        return ("storage", kind, self.keys[id(value)], "cpu", len(value.values))


def zip64(entries):
    """A zip with aligned data and ZIP64 records."""
    out, directory = bytearray(), bytearray()
    for name, data in entries:
        name, offset = name.encode(), len(out)
        pad = -(offset + 30 + len(name) + 4) % 64
        extra = struct.pack("<2sH", b"FB", pad) + b"Z" * pad
        crc, size, method = zlib.crc32(data), len(data), 0
        if name.endswith(b".py"):
            deflate = zlib.compressobj(wbits=-15)
            data, method = deflate.compress(data) + deflate.flush(), 8
        sizes = struct.pack("<III", crc, len(data), size)
        out += struct.pack("<4sHHHHH", b"PK\x03\x04", 0, 0, method, 0, 0) + sizes + struct.pack("<HH", len(name), len(extra))
        out += name + extra + data
        wide = struct.pack("<HHQ", 1, 8, offset)
        directory += struct.pack("<4sHHHHHH", b"PK\x01\x02", 0, 0, 0, method, 0, 0) + sizes
        directory += struct.pack("<HHHHHII", len(name), len(wide), 0, 0, 0, 0, 0xFFFFFFFF) + name + wide
    start, count = len(out), len(entries)
    out += directory
    end = len(out)
    out += struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), start)
    out += struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    out += struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return bytes(out)


def archive(root, value, extra=()):
    file = io.BytesIO()
    pickler = Pickler(file)
    pickler.dump(value)
    entries = [(f"{root}/data.pkl", file.getvalue()), (f"{root}/byteorder", b"little"), *extra]
    entries += [(f"{root}/data/{key}", storage.bytes()) for key, storage in enumerate(pickler.storages)]
    return zip64([*entries, (f"{root}/version", b"3\n")])


def ramp(dtype, n):
    """-n/8 ... in steps of 1/4: exact in every type but the integers', which count."""
    return Storage(dtype, [i for i in range(n)] if dtype == "I64" else [(i - n // 2) / 4 for i in range(n)])


def state_dict():
    """One tensor of each kind: scalar, parameter, f16, turned bf16, two views of one storage, f64, an integer."""
    shared = ramp("F32", 12)
    return OrderedDict(
        {
            "logit_scale": Tensor(Storage("F32", [4.5]), []),
            "visual.class_embedding": Tensor(ramp("F32", 4), [4], parameter=True),
            "visual.conv1.weight": Tensor(ramp("F16", 24), [2, 3, 2, 2]),
            "visual.proj": Tensor(ramp("BF16", 6), [3, 2], [1, 3]),
            "ln_final.weight": Tensor(shared, [4], offset=2),
            "ln_final.bias": Tensor(shared, [2, 3], [6, 2], offset=1),
            "text_projection": Tensor(ramp("F64", 4), [2, 2]),
            "visual.bn1.num_batches_tracked": Tensor(ramp("I64", 1), []),
        }
    )


def checkpoint(states, optimizer):
    return {"epoch": 3, "name": "a run", "state_dict": states, "optimizer": optimizer}


def script(tensors):
    """A module whose attributes are the tensors and its parts."""
    made = {}
    module("__torch__")

    def part(path):
        if path not in made:
            home = f"__torch__.___torch_mangle_{len(made)}"
            kind = type("Part", (), {})
            module(home, Part=kind)
            made[path] = kind()
            made[path].training, made[path]._is_full_backward_hook = False, None
            if path:
                setattr(part(path[:-1]), path[-1], made[path])
        return made[path]

    for name, tensor in tensors.items():
        *path, leaf = name.split(".")
        tensor.parameter = False  # a script's parameters are plain tensors
        setattr(part(tuple(path)), leaf, tensor)
    return made[()]


def write(out):
    module("torch", **{name: type(name, (), {}) for name in CLASSES.values()})
    module("torch._utils", _rebuild_tensor_v2=rebuild_tensor, _rebuild_parameter=rebuild_parameter)
    states = state_dict()
    states._metadata = OrderedDict({"": {"version": 1}, "visual": {"version": 1}})
    wrapped = OrderedDict((f"module.{name}", tensor) for name, tensor in states.items())
    groups = [{"lr": 1e-4, "betas": (0.9, 0.98), "amsgrad": False, "foreach": None, "params": [0, 300, 70000]}]
    optimizer = {"state": {0: {"step": 5.0, "exp_avg": Tensor(ramp("F32", 4), [4])}}, "param_groups": groups}
    code = [("script/code/__torch__/multimodal.py", b"class Part(Module):\n  pass\n"), ("script/constants.pkl", b"\x80\x02).")]
    files = {
        "state_dict.pt": (archive("state_dict", states), states),
        "checkpoint.pt": (archive("archive", checkpoint(wrapped, optimizer)), wrapped),
        "script.pt": (archive("script", script(state_dict()), code), states),
    }
    out.mkdir(exist_ok=True)
    for name, (data, _) in files.items():
        (out / name).write_bytes(data)
    expected = {name: {key: made.expected() for key, made in tensors.items()} for name, (_, tensors) in files.items()}
    (out / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


def write_by_torch(out):
    import torch

    def tensor(made, storages={}):
        if made.storage not in storages:
            storages[made.storage] = torch.tensor(made.storage.values, dtype=getattr(torch, TORCH_NAMES[made.storage.dtype]))
        real = storages[made.storage].as_strided(made.shape, made.strides, made.offset)
        return torch.nn.Parameter(real) if made.parameter else real

    real = OrderedDict((key, tensor(made)) for key, made in state_dict().items())
    out.mkdir(exist_ok=True)
    torch.save(real, out / "state_dict.pt")
    weights = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([weights])
    weights.sum().backward()
    optimizer.step()
    wrapped = OrderedDict((f"module.{name}", value) for name, value in real.items())
    torch.save(checkpoint(wrapped, optimizer.state_dict()), out / "checkpoint.pt")
    root = torch.nn.Module()
    for name, value in real.items():
        *path, leaf = name.split(".")
        home = root
        for part in path:
            if not hasattr(home, part):
                home.add_module(part, torch.nn.Module())
            home = getattr(home, part)
        home.register_buffer(leaf, value.detach())
    torch.jit.save(torch.jit.script(root), out / "script.pt")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--torch"]:
        write_by_torch(pathlib.Path(sys.argv[2]))
    else:
        write(pathlib.Path(__file__).parent.parent / "fixtures" / "torch")
