"""README and the pages that it links to: short, their links exist, and their Python runs."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from flax import linen as nn

PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "experiments/README.md"]
PAGES += [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\(([^)]+)\)|\]: (\S+)|src=\"([^\"]+)\"", text)
    targets = [target.partition("#")[0] for link in links for target in link if target]
    assert all((ROOT / page).parent.joinpath(target).exists() for target in targets if "://" not in target), targets


def test_the_readme_is_a_page():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 90
    film = ROOT / "experiments" / "results" / "digits.gif"
    assert f'src="{film.relative_to(ROOT)}"' in "\n".join(text.splitlines()[:15]) and film.stat().st_size <= 400_000


class MyGenerator(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.tanh(nn.Dense(16)(z)).reshape(-1, 4, 4, 1)


class MyDiscriminator(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x.reshape(x.shape[0], -1))[:, 0]


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", Path(ROOT / "README.md").read_text(), re.S)
    assert code.count("import gan_jax") == 1 and "from gan_jax" not in code
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1)).astype(np.uint8)
    names = {"MyGenerator": MyGenerator, "MyDiscriminator": MyDiscriminator, "images": images}
    exec(code.replace("steps=2000", "steps=2"), names)
    assert names["x"].shape == (64, 4, 4, 1) and (tmp_path / "runs" / "mine" / "progress.gif").exists()
    import gan_jax

    again = gan_jax.load("runs/mine", names["game"])
    np.testing.assert_array_equal(again.sample(0, 64)["x"], names["x"])
