"""AutoAWQ's packages without what their __init__ files import (calibration data, model classes of older transformers): its packing modules
can then be imported one by one."""
import importlib.util
import pathlib
import sys
import types

BASE = pathlib.Path(importlib.util.find_spec("awq").origin).parent
for package in ("awq", "awq.modules", "awq.modules.linear", "awq.utils"):
    module = types.ModuleType(package)
    module.__path__ = [str(BASE.joinpath(*package.split(".")[1:]))]
    sys.modules[package] = module
