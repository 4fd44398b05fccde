"""What GPTQModel imports for other purposes than packing (Pillow, datasets, pyarrow), as empty modules where it is not installed."""
import importlib.machinery
import sys
import types
from unittest.mock import MagicMock

import transformers.modeling_utils  # noqa: F401, first: it looks at what is really there

for name in ("PIL", "PIL.Image", "datasets", "pyarrow"):
    try:
        __import__(name)
    except ImportError:
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__path__ = []
        module.__getattr__ = lambda attribute: MagicMock()
        sys.modules[name] = module
