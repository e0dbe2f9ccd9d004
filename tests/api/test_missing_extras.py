"""Without an optional package: one sentence, and the command that gets it, is true."""

import re
import tomllib

import pytest
from processes import run_python
from variants import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]

DISTRIBUTIONS = {"sklearn": "scikit-learn"}
"""Where the module has another name."""

PRELUDE = """
import importlib, os, sys

for name in {hidden!r}:
    sys.modules[name] = None  # as if it were not installed
import numpy as np
import exactrnn as xr
gru = xr.GRU(2, 3, seed=0)
x = np.zeros((4, 1, 2), "float32")
cache = gru.forward(x)[2]
os.chdir(sys.argv[1])
"""

HEADS = {
    "m.keras": b"PK\x03\x04",
    "m.h5": b"\x89HDF\r\n\x1a\n",
    "m.onnx": b"\x08",
    "m.safetensors": b"\x02" + bytes(7) + b"{}",
}
"""Files that begin as their kind does."""

CALLS = {
    "importlib.import_module('exactrnn.torch')": "torch",
    "importlib.import_module('exactrnn.interop.torch')": "torch",
    "xr.torch": "torch",
    "xr.to_torch(gru)": "torch",
    "importlib.import_module('exactrnn.jax')": "jax",
    "importlib.import_module('exactrnn.interop.jax')": "jax",
    "xr.jax": "jax",
    "importlib.import_module('exactrnn.sklearn')": "sklearn",
    "importlib.import_module('exactrnn.interop.sklearn')": "sklearn",
    "xr.sklearn": "sklearn",
    "xr.from_keras('m.keras')": "h5py",
    "xr.keras.from_keras('m.h5')": "h5py",
    "xr.keras.layers_from_keras('m.keras')": "h5py",
    "xr.from_onnx('m.onnx')": "onnx",
    "xr.onnx.layers_from_onnx('m.onnx')": "onnx",
    "xr.onnx.to_onnx(gru)": "onnx",
    "xr.onnx.accelerate('m.onnx')": "onnxruntime",
    "xr.save(gru, 'new.safetensors')": "safetensors",
    "xr.load('m.safetensors')": "safetensors",
    "xr.from_torch('m.safetensors')": "safetensors",
    "xr.plot.gates(cache)": "matplotlib",
    "xr.plot.gradient_flow(gru, x)": "matplotlib",
    "xr.distributed.RayEngine(workers=1)": "ray",
    "xr.distributed.MPIEngine()": "mpi4py",
}

COMMANDS = {
    "completion bash": "shtab",
    "lm": "safetensors",
    "lm sample m.safetensors": "safetensors",
    "bench --plot new.png": "matplotlib",
}

TRY = """
for call in {calls!r}:
    try:
        eval(call)
    except ImportError as error:
        print(str(error).count("\\n"), error)
    except Exception as error:
        print("9", repr(error))
    else:
        print("9 no error")
from exactrnn.cli import main
sys.stderr = sys.stdout
for command in {commands!r}:
    status = main(command.split())
    print(f"status {{status}}")
"""

ADVICE = re.compile(r"pip install ((?:'exactrnn\[\w+\]'|[\w-]+)(?: \w+)*)")


def check_sentence(words, package):
    found = ADVICE.search(words)
    assert found, words
    named = DISTRIBUTIONS.get(package, package)
    gets = {word for word in found[1].split() if "'" not in word}
    for extra in re.findall(r"exactrnn\[(\w+)\]", found[1]):
        for requirement in PROJECT["optional-dependencies"][extra]:
            gets.add(re.match(r"[\w-]+", requirement)[0])
    assert named in gets, f"{words!r} does not get {named}"


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """What each call and command said in a process that has NumPy alone."""
    hidden = {*CALLS.values(), *COMMANDS.values(), "tqdm"}
    code = PRELUDE + TRY
    folder = tmp_path_factory.mktemp("bare")
    for name, head in HEADS.items():
        (folder / name).write_bytes(head)
    code = code.format(hidden=hidden, calls=[*CALLS], commands=[*COMMANDS])
    text = run_python(code, folder)
    return text.splitlines()


@pytest.mark.parametrize("call", CALLS)
def test_missing_package_is_one_sentence(sentences, call):
    line = sentences[[*CALLS].index(call)]
    assert line.startswith("0 "), line
    check_sentence(line, CALLS[call])


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_package_is_one_line_of_a_command(sentences, command):
    rest = sentences[len(CALLS) :]
    place = 2 * [*COMMANDS].index(command)
    said, status = rest[place : place + 2]
    assert status == "status 2"
    name = command.split(" --")[0].removesuffix(" m.safetensors").removesuffix(" bash")
    assert said.startswith(f"exactrnn {name}: error: ") or name == "lm sample", said
    check_sentence(said, COMMANDS[command])


def test_every_extra_that_is_advised_is_there():
    extras = PROJECT["optional-dependencies"]
    named = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(r"exactrnn\[(\w+)\]", path.read_text(encoding="utf-8"))
    }
    assert named
    assert named <= set(extras)
