import importlib
import importlib.util
import sys
from unittest import mock

import pytest


@pytest.fixture(scope="session")
def torch_fidelity():
    """Imports one of torch-fidelity's modules by name; its data sets need torchvision, its formulas do not."""
    for needed in ("torch", "torch_fidelity"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    absent = {}
    if importlib.util.find_spec("torchvision") is None:
        names = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
        absent = {name: mock.MagicMock(name=name) for name in names}
        for name in ("CIFAR10", "CIFAR100", "STL10"):
            setattr(absent["torchvision.datasets"], name, type(name, (), {}))
        absent["torchvision"].transforms = absent["torchvision.transforms"]
        absent["torchvision.transforms"].functional = absent["torchvision.transforms.functional"]
    sys.modules.update(absent)
    importlib.import_module("torch_fidelity")
    for name in absent:
        del sys.modules[name]
    return lambda name: importlib.import_module(f"torch_fidelity.{name}")
