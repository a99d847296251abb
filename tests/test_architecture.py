"""The house stands as docs/architecture.md draws it: a room a floor, applications beside the core, torch kept
closed."""

import ast
import re
import statistics
import subprocess
import sys

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "genomai_cli"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
ARCHITECTURE_PAGE = (REPOSITORY / "docs" / "architecture.md").read_text()
LONGEST_FUNCTION = 80
LONGEST_MODULE = 430
MEDIAN_FUNCTION, P95_FUNCTION = 8, 40

# From the ground up: a room imports from itself and from those above it in this list, from no other.
FLOORS = [
    "",  # the package itself: the version, and the names of the library
    "errors",
    "names",
    "records",
    "alphabet",
    "registry",
    "augmentations",
    "tokenizers",
    "formats",
    "mapping",
    "metrics",
    "reports",
    "threads",
    "device",
    "backbones",
    "diffusion",
    "objectives",
    "inputs",
    "bundles",
    "training",
    "inference",
    "denoising",
    "population",
    "phylogeny",
    "sources",
    "presets",
    "library",
    "cli",
    "__main__",
]
APPLICATIONS = ("population", "phylogeny")
CORE = FLOORS[: FLOORS.index("population")]
TORCH_FROM = FLOORS.index("device")
WITHOUT_TORCH = ("bundles.catalog", "bundles.stored", "bundles.writing")
# What makes a model of reference haplotypes, and restores samples by it: neither these nor what they import open torch.
IMPUTATION = (
    "sources.denoisers",
    "sources.faults",
    "denoising.vcf",
    "denoising.fasta",
    "population.imputation.stored",
    "population.imputation.preparation",
    "sources.reference_haplotypes",
    "training.pretraining_page",
    "training.run_folder",
)
TORCH_MODULES = ("torch", "safetensors.torch")


def dotted(path):
    """The module's name inside the package: `formats.streams`; "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room(name):
    """The room that a module lies in."""
    return name.split(".")[0]


def floor(name):
    """How high the module's room lies."""
    assert room(name) in FLOORS, f"{name} has no floor: add its room to FLOORS and the plan"
    return FLOORS.index(room(name))


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
            module = name.removeprefix("genomai_cli").lstrip(".")
            yield module if is_module(module) else module.rpartition(".")[0]


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


def test_no_import_runs_upwards(module):
    name = dotted(module)
    for other in rooms_imported(module):
        assert floor(other) <= floor(name), f"{name} imports {other}"


def test_the_core_knows_no_application(module):
    """Neither by an import of any kind nor by name: applications are named in the registry alone."""
    name = dotted(module)
    if room(name) not in CORE or name == "registry":
        return
    named = {a for a in APPLICATIONS if f"genomai_cli.{a}" in module.read_text()}
    assert not named, f"{name} names {named}"


def test_applications_do_not_know_each_other(module):
    name = dotted(module)
    if room(name) in APPLICATIONS:
        others = [r for r in rooms_imported(module) if room(r) in APPLICATIONS]
        assert {room(r) for r in others} <= {room(name)}


def test_modules_import_each_other_in_no_circle():
    graph = {dotted(path): {r for r in rooms_imported(path)} - {dotted(path)} for path in MODULES}
    visited, stack = set(), []

    def visit(name):
        assert name not in stack, f"a circle: {' -> '.join([*stack[stack.index(name) :], name])}"
        if name in visited:
            return
        stack.append(name)
        for other in sorted(graph.get(name, ())):
            visit(other)
        visited.add(stack.pop())

    for name in graph:
        visit(name)


def test_what_the_registry_names_is_there():
    from genomai_cli import registry

    tables = [value for name, value in vars(registry).items() if name.isupper()]
    assert len(tables) >= 5
    for table in tables:
        for path in table.values():
            assert registry.resolve(path) is not None, path


def test_only_the_torch_rooms_import_torch(module):
    if any(name.startswith(TORCH_MODULES) for name in imports(module)):
        name = dotted(module)
        assert TORCH_FROM <= floor(name) < FLOORS.index("library"), f"{name} imports torch"
        assert name not in WITHOUT_TORCH


def test_imputation_by_haplotypes_opens_no_torch():
    visited, pending = set(), list(IMPUTATION)
    while pending:
        name = pending.pop()
        if name in visited:
            continue
        visited.add(name)
        path = next(path for path in MODULES if dotted(path) == name)
        torch_imports = [
            n for n in imports(path, top_level_only=True) if n.startswith(TORCH_MODULES)
        ]
        assert not torch_imports, f"{name} imports torch"
        pending += rooms_imported(path, top_level_only=True)
    assert "population.networks.kriging" in visited


def test_commands_open_the_rooms_inside_the_function(module):
    if room(dotted(module)) in ("cli", "__main__"):
        for other in rooms_imported(module, top_level_only=True):
            assert other in ("", "errors", "names", "registry") or room(other) == "cli", other


def test_a_module_has_a_docstring_and_fits_a_room(module):
    text = module.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert len(text.splitlines()) <= LONGEST_MODULE


def test_no_function_is_longer_than_a_page(module):
    for function in functions(module):
        assert code_lines(function) <= LONGEST_FUNCTION, function.name


def test_functions_are_short():
    lengths = [code_lines(function) for path in MODULES for function in functions(path)]
    assert statistics.median(lengths) <= MEDIAN_FUNCTION
    assert statistics.quantiles(lengths, n=20)[-1] <= P95_FUNCTION


def test_nothing_below_the_command_line_prints_or_exits(module):
    if room(dotted(module)) in ("cli", "__main__"):
        return
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "exit", "quit", "input"), node.lineno
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in (("sys", "exit"), ("sys", "argv")), node.lineno


def test_the_package_itself_opens_nothing():
    assert list(imports(PACKAGE / "__init__.py")) == ["importlib.import_module"]


def test_commands_and_the_library_do_not_know_each_other(module):
    others = {"library": "cli", "cli": "library"}
    name = room(dotted(module))
    assert others.get(name) not in {room(other) for other in rooms_imported(module)}


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
    paths = {
        "tmp": tmp_path,
        "fasta": tmp_path / "a.fa",
        "predictions": tmp_path / "p.tsv",
        "truth": tmp_path / "t.tsv",
    }
    paths["fasta"].write_text(">a\nACGT\n")
    paths["predictions"].write_text("sample\tpop\tpop_p\na\tGBR\t0.5\n")
    paths["truth"].write_text("sample\tpop\na\tGBR\n")
    modules = modules_after([argument.format(**paths) for argument in arguments])
    assert "torch" not in modules
    if "hdf5" not in arguments:
        assert not {"h5py", "rich"} & modules
    if "--help" in arguments:
        assert "numpy" not in modules


def test_the_library_is_opened_when_one_of_its_names_is_asked_for():
    program = "import sys, genomai_cli; assert 'load' in dir(genomai_cli); print(*sys.modules)"
    before = modules_of(program)
    assert not {"torch", "numpy", "typer", "genomai_cli.library"} & before
    after = modules_of(program.replace("assert", "genomai_cli.load; assert"))
    assert {"torch", "genomai_cli.library"} <= after
    assert not {"typer", "rich", "genomai_cli.cli", "pandas", "sklearn"} & after


def modules_of(program):
    """What a program in a fresh interpreter prints."""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["classify", "--help"], ["models", "list", "--help"]]
)
def test_only_the_command_that_is_asked_for_is_opened(arguments):
    from genomai_cli.cli.app import COMMANDS

    imported = {f"genomai_cli.cli.{name}" for name in COMMANDS} & modules_after(arguments)
    assert imported == {f"genomai_cli.cli.{name}" for name in arguments if name in COMMANDS}


def modules_after(arguments):
    """The modules loaded after a run of the program in a fresh interpreter."""
    program = (
        "import sys; from genomai_cli.cli.app import main; status = main(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr); sys.exit(status)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return set(result.stderr.split())


def test_rooms_stand_where_the_plan_says():
    """The plan lists every room once, in the order of the floors."""
    listed = re.findall(r"^  (\w+)/? {2,}\S", ARCHITECTURE_PAGE, flags=re.MULTILINE)
    children = [path for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"]
    names = {path.stem if path.is_file() else path.name for path in children}
    existing = {name for name in names if not name.startswith(("_", "."))}
    assert listed == [name for name in FLOORS if name in existing]
    assert existing <= set(listed)
