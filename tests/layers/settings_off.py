"""An app server of which only layer 1 is left: layers 2 to 5 are off in the whole process.

For tests/browser/test_1_button.py. Their constraints are dropped by SQL, on that shop's own database.
"""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as _USUAL

INSTALLED_APPS = [*_USUAL, "tests.layers.only_layer_1.OnlyLayer1"]
