"""The house stands as docs/architecture.md draws it: floors, closed torch, documented and short modules."""

import ast
import statistics
import subprocess
import sys

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "genomai_cli"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
LONGEST_FUNCTION = 80
LONGEST_MODULE = 300

# The floor of a room, or of a module that lies on another floor than its room.
FLOORS = {
    "": 0,  # the package itself: the version only
    "errors": 0,
    "records": 0,
    "formats": 1,
    "panels": 1,
    "phenotypes": 1,
    "tokenizers": 1,
    "anchoring": 1,
    "augmentations": 1,
    "metrics": 1,
    "device": 2,
    "diffusion": 2,
    "nets": 2,
    "bundles": 2,
    "bundles.bundle": 3,
    "objectives": 3,
    "training": 4,
    "inference": 4,
    "generation": 4,
    "restoration": 4,
    "reports": 4,
    "presets": 4,
    "cli": 5,
    "__main__": 5,
}
TORCH_MODULES = ("torch", "safetensors.torch")


def dotted(path):
    """The module's name inside the package: `formats.streams`; "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def floor(name):
    """The floor of the most specific entry that covers a module."""
    parts = name.split(".") if name else []
    prefixes = [".".join(parts[:end]) for end in range(len(parts), 0, -1)] or [""]
    found = next((prefix for prefix in prefixes if prefix in FLOORS), None)
    assert found is not None, f"{name} has no floor: add it to FLOORS and to docs/architecture.md"
    return FLOORS[found]


def imports(path, *, top_level_only=False):
    """The absolute names that a module imports, as far down as an import names them."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(path, **options):
    """Of those, the ones inside the package, as modules that exist."""
    for name in imports(path, **options):
        if name.split(".")[0] == "genomai_cli":
            inside = name.removeprefix("genomai_cli").lstrip(".")
            yield inside if is_module(inside) else inside.rpartition(".")[0]


def is_module(name):
    target = PACKAGE.joinpath(*name.split("."))
    return target.is_dir() or target.with_suffix(".py").is_file()


def functions(path):
    tree = ast.parse(path.read_text())
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def code_lines(function):
    """Lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


@pytest.fixture(params=MODULES, ids=lambda path: dotted(path) or "genomai_cli")
def module(request):
    return request.param


def test_a_room_imports_only_from_its_floor_and_below(module):
    here = floor(dotted(module))
    for room in rooms_imported(module):
        assert floor(room) <= here, f"{dotted(module)} (floor {here}) imports {room}"


def test_only_the_torch_rooms_import_torch(module):
    if any(name.startswith(TORCH_MODULES) for name in imports(module)):
        name = dotted(module)
        assert 2 <= floor(name) <= 4, f"{name} imports torch"
        assert name not in ("bundles", "bundles.catalog", "bundles.summary")


def test_commands_open_the_rooms_inside_the_function(module):
    if floor(dotted(module)) == 5:
        for room in rooms_imported(module, top_level_only=True):
            assert room in ("", "errors", "__version__") or floor(room) == 5, room


def test_a_module_has_a_docstring_and_fits_a_room(module):
    text = module.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert len(text.splitlines()) <= LONGEST_MODULE


def test_no_function_is_longer_than_a_page(module):
    for function in functions(module):
        assert code_lines(function) <= LONGEST_FUNCTION, function.name


def test_functions_are_short_in_the_middle():
    lengths = [code_lines(function) for path in MODULES for function in functions(path)]
    assert statistics.median(lengths) <= 8


def test_nothing_below_the_command_line_prints_or_exits(module):
    if floor(dotted(module)) == 5:
        return
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "exit", "quit", "input"), node.lineno
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in (("sys", "exit"), ("sys", "argv")), node.lineno


def test_the_package_itself_holds_the_version_only():
    assert list(imports(PACKAGE / "__init__.py")) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["models", "list"],
        ["models", "--help"],
        ["tokenize", "{fasta}"],
        ["tokenize", "--to", "hdf5", "-o", "{tmp}/tokens.h5", "{fasta}"],
        ["evaluate", "{predictions}", "--truth", "{truth}"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_torch_stays_closed(arguments, tmp_path):
    places = {
        "tmp": tmp_path,
        "fasta": tmp_path / "a.fa",
        "predictions": tmp_path / "p.tsv",
        "truth": tmp_path / "t.tsv",
    }
    places["fasta"].write_text(">a\nACGT\n")
    places["predictions"].write_text("sample\tpop\tpop_p\na\tGBR\t0.5\n")
    places["truth"].write_text("sample\tpop\na\tGBR\n")
    modules = modules_after([word.format(**places) for word in arguments])
    assert "torch" not in modules
    if "--help" in arguments:
        assert not {"numpy", "rich", "h5py"} & modules


def modules_after(arguments):
    """The modules loaded after a run of the program in a fresh interpreter."""
    program = (
        "import sys; from genomai_cli.cli.app import main; status = main(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr); sys.exit(status)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.split())


def test_every_room_of_the_plan_exists():
    plan = (REPOSITORY / "docs" / "architecture.md").read_text()
    rooms = [path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] not in "_."]
    assert [room for room in rooms if f"{room}/" not in plan] == []
