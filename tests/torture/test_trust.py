"""What others made is never run: no pickles, no code in data or names, no network, nothing written elsewhere."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

import noiseproof as npf
import noiseproof.targets
import noiseproof.training
from noiseproof.cli import main
from noiseproof.data.sources import SOURCES, SourceOptions
from noiseproof.errors import NoiseproofError, RecipeError
from noiseproof.training import load_recipe

PACKAGE = Path(__file__).parent.parent.parent / "src" / "noiseproof"
FILES = sorted(PACKAGE.rglob("*.py"))

TINY = """\
name: tiny
data: {source: digits}
model: {name: small-cnn, embedding_dim: 4, options: {width: 2}}
noise: {train: "gaussian:0.3"}
train: {epochs: 1, batch_size: 32, max_steps: 2}
evaluate: {perturbations: [clean, "gaussian:0.2"], draws: 2}
"""
SHORT: dict[str, Any] = {"train.max_steps": 2, "model.options": {"width": 2}, "model.embedding_dim": 4}


@pytest.fixture(autouse=True)
def _warnings_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` decides how warnings are shown."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


# The scan -----------------------------------------------------------------------------------------------------------

UNSAFE_MODULES = {
    "pickle", "cPickle", "_pickle", "pickletools", "dill", "cloudpickle", "joblib", "shelve", "marshal", "subprocess",
    "socket", "urllib", "http", "requests", "httpx", "ftplib", "smtplib", "ctypes", "pty", "code", "runpy",
}  # fmt: skip
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "input", "breakpoint"}
UNSAFE_ATTRIBUTES = {
    "os.system", "os.popen", "os.execv", "os.execve", "os.execvp", "os.spawnv", "os.posix_spawn", "torch.hub.load",
    "torch.hub.load_state_dict_from_url", "torch.jit.load", "torch.package.PackageImporter", "np.fromregex",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.dump", "pd.read_pickle",
    "tempfile.mktemp", "builtins.eval", "builtins.exec", "numpy.load",
}  # fmt: skip
# Where a module may be imported by a name that is not written there: the registries' own packages, the names of the
# package itself, the extra for attacks, the requirements that doctor looks at, and package.module:factory.
IMPORTS_BY_NAME = {
    "registry.py",
    "__init__.py",
    "evaluation/attacks.py",
    "doctor/versions.py",
    "models/foreign.py",
}
REQUIRED_KEYWORDS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


def dotted(node: ast.expr) -> str:
    """The name that an expression such as ``torch.hub.load`` spells; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def findings(text: str, may_import_by_name: bool = False) -> list[str]:
    """What a module does that could run or fetch what others made."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found += [module] if module.split(".")[0] in UNSAFE_MODULES else []
            found += [
                f"{module}.{alias.name}" for alias in node.names
                if f"{module}.{alias.name}" in UNSAFE_ATTRIBUTES | {"torch.load", "numpy.load", "os.system"}
            ]  # fmt: skip
        elif isinstance(node, ast.Attribute) and dotted(node) in UNSAFE_ATTRIBUTES:
            found.append(dotted(node))
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            if name in UNSAFE_CALLS:
                found.append(f"{name}(")
            if name in REQUIRED_KEYWORDS:
                key, wanted = REQUIRED_KEYWORDS[name]
                value = given.get(key)
                if not (isinstance(value, ast.Constant) and value.value is wanted):
                    found.append(f"{name} without {key}={wanted}")
            for key, allowed in (("shell", False), ("trust_remote_code", False), ("allow_pickle", False)):
                value = given.get(key)
                if value is not None and not (isinstance(value, ast.Constant) and value.value is allowed):
                    found.append(f"{key}=")
            if name == "importlib.import_module" and not may_import_by_name:
                found.append(name)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_can_run_or_fetch_what_others_made(path: Path) -> None:
    relative = path.relative_to(PACKAGE).as_posix()
    assert findings(path.read_text(encoding="utf-8"), relative in IMPORTS_BY_NAME) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from pickle import loads", "import subprocess as s", "import urllib.request", "eval('1')",
        "exec('1')", "compile('1', '', 'eval')", "__import__('os')", "torch.load(p)", "torch.load(p, None)",
        "torch.load(p, weights_only=False)", "torch.load(p, weights_only=flag)", "np.load(p)",
        "np.load(p, allow_pickle=True)", "run(x, shell=True)", "run(x, shell=flag)", "yaml.load(x)", "os.system('x')",
        "f = torch.hub.load", "from torch import load", "from os import system", "importlib.import_module(x)",
        "def f():\n    import shelve", "yaml.unsafe_load(x)", "load_dataset(x, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_the_scan_finds_what_it_is_to_find(text: str) -> None:
    assert findings(text)


@pytest.mark.parametrize(
    "text",
    ["model.eval()", "torch.load(p, weights_only=True)", "np.load(p, allow_pickle=False)", "yaml.safe_load(x)",
     "re.compile('x')", "torch.compile(x)", "run(x, shell=False)"],
)  # fmt: skip
def test_the_scan_lets_the_rest_pass(text: str) -> None:
    assert findings(text) == []


# Nothing in data is run ---------------------------------------------------------------------------------------------


class Trap:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._mark,))


def test_the_trap_would_have_worked(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "mark")))  # noqa: S301
    assert (tmp_path / "mark").exists()


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named ``gs`` that leaves a mark where it is run; the mark's place."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path / 'mark'}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None, raising=False)  # Pillow remembers what it found
    return tmp_path / "mark"


def test_a_picture_that_is_postscript_under_another_name_runs_no_program(tmp_path: Path, ghostscript: Path) -> None:
    """Pillow goes by what is in a file, not by its name, and hands PostScript to Ghostscript, an interpreter."""
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / name / "0.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "data" / "dog" / "1.png", "EPS")
    with pytest.raises(NoiseproofError, match=r"cannot read the picture .*1\.png"):
        SOURCES["folder"](str(tmp_path / "data"), SourceOptions())
    assert not ghostscript.exists()


def test_a_model_file_cannot_have_another_file_unpickled(tmp_path: Path) -> None:
    """timm's ``checkpoint_path``, in the options of a description, names a file that timm would load."""
    pytest.importorskip("timm")
    from safetensors.torch import save_file

    from noiseproof.models.files import load_model

    torch.save({"state_dict": Trap(tmp_path / "mark")}, tmp_path / "evil.pth")
    description = {
        "name": "timm/resnet10t", "embedding_dim": 3, "class_names": ["a", "b"], "input_shape": [3, 32, 32],
        "mean": [0.0] * 3, "std": [1.0] * 3, "options": {"checkpoint_path": str(tmp_path / "evil.pth")},
    }  # fmt: skip
    save_file({"x": torch.zeros(1)}, tmp_path / "m.safetensors", {"noiseproof.model": json.dumps(description)})
    with pytest.raises(Exception, match=r".") as caught:  # what kind of error is another test's question
        load_model(tmp_path / "m.safetensors")
    assert not (tmp_path / "mark").exists(), caught.value


# Names never run code, but package.module:factory, which says so ----------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [
        {"method": "trap:run"}, {"data.source": "trap:run"}, {"model.name": "trap:run"}, {"model.name": "trap/run"},
        {"noise.train": "trap:run"}, {"data.augment": "trap:run"}, {"evaluate.perturbations": ["trap:run"]},
        {"preset": "trap"}, {"train.optimizer.name": "trap:run"},
    ],
    ids=str,
)  # fmt: skip
def test_no_name_in_a_recipe_imports_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: dict[str, Any]
) -> None:
    (tmp_path / "trap.py").write_text("raise SystemExit('the trap was imported')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NoiseproofError):
        npf.train("digits", None, 0, {**SHORT, **overrides}, "out")
    assert "trap" not in sys.modules
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["evaluate", "certify", "curvature"])
def test_what_runs_code_says_so_in_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "package.module:factory, which runs that code" in shown


def test_a_file_of_weights_is_never_taken_for_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose name looks like package.module:factory is a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trap.py").write_text("raise SystemExit('the trap was imported')\n")
    (tmp_path / "trap:run").write_bytes(b"no weights")
    with pytest.raises(NoiseproofError, match="cannot read weights from trap:run"):
        npf.targets.load_target("trap:run", model="torchvision/resnet18", data="digits")
    assert "trap" not in sys.modules


# The page -----------------------------------------------------------------------------------------------------------

EVIL = "<script>alert(1)</script>"


def test_class_names_with_a_script_are_shown_and_never_run_from_data_to_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    names = [EVIL, "\"><img src=x onerror='alert(1)'>", "$\\frac{"]
    np.savez("evil.npz", x=random.random((60, 1, 8, 8)), y=np.arange(60) % 3, class_names=names)
    text = TINY.replace("digits", "npz:evil.npz") + f"description: '{EVIL}'\n"
    (tmp_path / "tiny.yaml").write_text(text)
    with pytest.raises(SystemExit) as caught:
        main(["compare", "tiny.yaml", "--methods", "normal", "--seeds", "0", "--out", "out"])
    assert caught.value.code == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.lower().count("<script") == 1  # the page's own
    assert EVIL not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


# Network and files, in a process of its own -------------------------------------------------------------------------

WATCHED = """\
import importlib, json, os, pkgutil, socket, sys
from pathlib import Path

seen = []

class NoSocket(socket.socket):
    def __init__(self, *arguments, **options):
        seen.append(["socket", str(arguments)])
        raise OSError("a socket was opened")

def refused(*arguments, **options):
    seen.append(["look-up", str(arguments)])
    raise OSError("a name was looked up")

socket.socket, socket.create_connection, socket.getaddrinfo = NoSocket, refused, refused

import noiseproof
for module in pkgutil.walk_packages(noiseproof.__path__, "noiseproof."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

def hook(event, arguments):
    if event.startswith("socket.") or event in ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec"):
        seen.append([event, str(arguments)[:200]])

sys.addaudithook(hook)
from noiseproof.cli import main

codes = {}
for line in sys.argv[1:]:
    try:
        main(line.split())
    except SystemExit as ended:
        codes[line] = ended.code
sys.__stdout__.write("\\n" + json.dumps({"seen": seen, "codes": codes}) + "\\n")
"""
COMMANDS = (
    "recipes",
    "train tiny.yaml --method discriminative --out out/run",
    "evaluate out/run --out out/report",
    "certify out/run --sigma 0.1 -n 8 --n0 4 --limit 5",
    "curvature out/run --limit 5 --probes 2",
    "compare tiny.yaml --methods normal,noisy --seeds 0 --out out/comparison",
    "analyse out/run --only fig1 --limit 30 --out out/analysis",
)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Every command but ``paper``, in an empty home, with every socket refused; the folder and what was seen."""
    top = tmp_path_factory.mktemp("watched")
    for name in ("home", "tmp", "work"):
        (top / name).mkdir()
    (top / "work" / "tiny.yaml").write_text(TINY)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    environment |= {"HOME": str(top / "home"), "TMPDIR": str(top / "tmp"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *COMMANDS], cwd=top / "work", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return top, json.loads(done.stdout.splitlines()[-1])


def test_every_command_did_its_work(watched: tuple[Path, dict[str, Any]]) -> None:
    assert watched[1]["codes"] == dict.fromkeys(COMMANDS, 0)


def test_importing_training_measuring_and_reporting_open_no_socket_run_no_program_and_unpickle_nothing(
    watched: tuple[Path, dict[str, Any]],
) -> None:
    assert watched[1]["seen"] == []


def test_nothing_is_written_outside_the_folder_that_was_named(watched: tuple[Path, dict[str, Any]]) -> None:
    """Matplotlib keeps a list of the fonts that it found, and torch an empty folder; noiseproof writes only there."""
    top, _ = watched
    written = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}
    elsewhere = {name for name in written if not name.startswith("work/out/")}
    fonts = {name for name in elsewhere if name.startswith("home/.cache/matplotlib/")}
    assert elsewhere - fonts == {"work/tiny.yaml"}
    assert not any(path.is_symlink() for path in top.rglob("*"))


@pytest.mark.parametrize("name", ["../x", "a/b", "/tmp/x", "..", ".x", "a\\b", "a\n", "a\0", "", " ", "~", "é"])  # noqa: S108
def test_the_name_of_a_recipe_cannot_lead_out_of_its_folder(name: str) -> None:
    with pytest.raises(RecipeError, match="name = "):
        load_recipe("digits", {"name": name})


def test_overwriting_a_run_does_not_follow_a_link_out_of_it(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    run = npf.train("digits", "normal", 0, SHORT, tmp_path / "run")
    for name in ("evaluation", "tensorboard"):
        (run.folder / name).symlink_to(precious, target_is_directory=True)
    npf.train("digits", "normal", 0, SHORT, run.folder, overwrite=True)
    assert (precious / "thesis.txt").read_text() == "years of work"
    assert not (run.folder / "evaluation").exists()


def test_a_download_is_off_unless_a_recipe_asks_for_it() -> None:
    assert SourceOptions().download is False
    for name in npf.training.recipe_names():
        assert load_recipe(name).data.download is False
