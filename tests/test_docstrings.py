"""Docstrings: all of them render, and every public function has an example that doctest runs."""

import ast
import doctest
import inspect
import io
import warnings
from pathlib import Path

import pytest

import gan_jax
from gan_jax import show

ROOT = Path(gan_jax.__file__).parents[1]
FILES = sorted(path for folder in ("gan_jax", "experiments") for path in (ROOT / folder).rglob("*.py"))

WITHOUT_EXAMPLE = {
    "gan_jax.runs.load.load": "needs the folder of a run",
    "gan_jax.runs.train.train": "trains",
    "gan_jax.population.members": "the same as `of`, with the numbers of each member",
    "gan_jax.data.plan.batches": "starts threads",
    "gan_jax.data.pictures.one_by_one": "reads pictures",
    "gan_jax.show.curves.compare": "writes a file",
    "gan_jax.show.curves.curves": "writes a file",
    "gan_jax.show.films.gif": "reads and writes files",
    "gan_jax.show.files.save_png": "writes a file",
    "gan_jax.show.files.write": "writes a file",
    "gan_jax.show.spectra.singular_values": "writes a file",
    "gan_jax.show.spectra.spectrum": "writes a file",
}
WITH_ONE_EXAMPLE = (
    "gan_jax.analysis",
    "gan_jax.rules",
)  # in the module's docstring, as each needs a game and its State


def modules():
    """The modules that `import gan_jax` exports, the modules that these export, and `show`."""
    for module in [gan_jax, show]:
        yield module
        for name in module.__all__:
            if inspect.ismodule(inner := getattr(module, name)):
                yield inner
                yield from filter(inspect.ismodule, (getattr(inner, name) for name in getattr(inner, "__all__", ())))


def public():
    """{full name: function or class} of all that these modules define or export."""
    found = {}
    for module in modules():
        for name in getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")]):
            thing = getattr(module, name)
            home = getattr(thing, "__module__", None) or ""
            ours = home.startswith("gan_jax") if hasattr(module, "__all__") else home == module.__name__
            if ours and callable(thing) and hasattr(thing, "__qualname__") and thing.__qualname__.isidentifier():
                found[f"{home}.{thing.__qualname__}"] = thing
    return found


PUBLIC = public()


def test_the_public_names_are_found():
    assert {"gan_jax.losses.hinge", "gan_jax.two_player.gan", "gan_jax.nn.conv.layers.Conv"} <= set(PUBLIC)
    assert {"gan_jax.metrics.frechet.frechet_distance", "gan_jax.show.grids.grid", "gan_jax.data.plan.take"} <= set(
        PUBLIC
    )
    assert {"gan_jax.runs.run.Run", "gan_jax.models.dcgan.Generator"} & set(PUBLIC) and len(PUBLIC) > 150


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_a_docstring(name):
    assert inspect.getdoc(PUBLIC[name])


def examples(thing):
    return doctest.DocTestParser().get_examples(thing.__doc__ or "")


@pytest.mark.parametrize("name", [name for name, thing in PUBLIC.items() if not isinstance(thing, type)])
def test_a_public_function_has_an_example(name):
    module = inspect.getmodule(PUBLIC[name])
    one = module.__name__ in WITH_ONE_EXAMPLE and examples(module)
    assert bool(examples(PUBLIC[name]) or one) != (name in WITHOUT_EXAMPLE)


def docstrings(path):
    """[(line, docstring), …] of a file."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    return [(getattr(node, "lineno", 1), doc) for node in nodes if (doc := ast.get_docstring(node))]


def problems(doc):
    """What docutils says of a docstring in Google style; a block quote is a table that lost its lines."""
    napoleon = pytest.importorskip("sphinx.ext.napoleon")
    core, nodes = pytest.importorskip("docutils.core"), pytest.importorskip("docutils.nodes")
    config = napoleon.Config(napoleon_use_ivar=True)  # `.. attribute::` is a directive of Sphinx alone
    stream = io.StringIO()
    settings = {"report_level": 1, "halt_level": 5, "warning_stream": stream}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tree = core.publish_doctree(str(napoleon.GoogleDocstring(doc, config)), settings_overrides=settings)
    quotes = [node.astext() for node in tree.findall(nodes.Element) if isinstance(node, nodes.block_quote)]
    return stream.getvalue() + "".join(f"Use `::` before an indented block: {text}" for text in quotes)


@pytest.mark.parametrize("doc", ["**args", "a table\n    1  2\n  3", "Args:\n    x: `unclosed", "see layer_ there"])
def test_what_does_not_render_is_found(doc):
    assert problems(doc)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_render(path):
    assert not [f"{path}:{line}: {found}" for line, doc in docstrings(path) if (found := problems(doc))]
