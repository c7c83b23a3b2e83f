"""One file of torch-fidelity, without the package around it, which would import torchvision."""

import importlib
import importlib.machinery
import sys
import types

import pytest


def torch_fidelity(module: str):
    """The module torch_fidelity.MODULE; the test is skipped where it cannot be imported."""
    found = importlib.machinery.PathFinder.find_spec("torch_fidelity")
    if found is None:
        pytest.skip("torch-fidelity is not installed")
    package = sys.modules.setdefault("torch_fidelity", types.ModuleType("torch_fidelity"))
    package.__path__ = list(found.submodule_search_locations)
    return importlib.import_module(f"torch_fidelity.{module}")
