"""Switches layers 2 to 5 off when a process with tests.layers.settings_off starts."""

from django.apps import AppConfig


class OnlyLayer1(AppConfig):
    name = "tests.layers"
    label = "only_layer_1"

    def ready(self) -> None:
        from tests.layers import switches  # the models are there only now

        switches.layer_2_off(setattr)
        switches.layer_3_off(setattr)
        switches.layer_4_off(setattr)
        switches.layer_5_off(setattr)
