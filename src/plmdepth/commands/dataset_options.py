"""The options of ``dataset`` that are of a kind, for messages that say which ones would do."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class
from omegaconf import OmegaConf


def options_of(kind: type) -> str:
    """Return the options whose object is of a class, with commas between."""
    sources = [source for source in HydraConfig.get().runtime.config_sources if source.provider == "main"]
    files = [file for source in sources for file in Path(source.path).glob("dataset/*.yaml")]
    return ", ".join(sorted(file.stem for file in files if issubclass(_class_of(file), kind)))


def _class_of(option: Path) -> type:
    return get_class(str(OmegaConf.select(OmegaConf.load(option), "_target_")))
