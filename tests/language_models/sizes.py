"""The true size of every model option, built once on no device."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from plmdepth.commands.objects import build

CONF = Path(__file__).parents[2] / "conf"


class Size(NamedTuple):
    """What was built.

    Attributes:
        layers: transformer blocks; of both stacks, encoder first, where there are two.
        width: features of the residual stream.
        parameters: of the whole module; tied ones count once.
    """

    layers: tuple[int, ...]
    width: int
    parameters: int


@cache
def scale_of() -> dict[str, str]:
    """Return what every file of ``conf/model`` stands for: itself, or the scale that a family's own name has."""
    return {path.stem: OmegaConf.load(path).get("name", path.stem) for path in CONF.glob("model/*.yaml")}


def options() -> set[str]:
    """Return every option of ``conf/model`` but the families' own names."""
    return {option for option, name in scale_of().items() if name == option}


@cache
def configured(option: str, *overrides: str, group: str = "model") -> Any:
    """Return what a model option, with overrides, makes of a group of the configuration."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build(compose("analyze", overrides=[f"model={option}", *overrides]), group)


@cache
def built_size(option: str) -> Size:
    """Return the size of the module that an option builds."""
    model = configured(option)
    with torch.device("meta"):
        module: Any = model.architecture(model.architecture_config())
    both = module.config.is_encoder_decoder
    stacks = [module.encoder.block, module.decoder.block] if both else [model.anatomy(module).layers]
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Size(tuple(len(layers) for layers in stacks), module.config.hidden_size, parameters)
