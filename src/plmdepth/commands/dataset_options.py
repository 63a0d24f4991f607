"""The options of ``dataset`` that are of a kind, for messages that say which ones would do."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class
from omegaconf import OmegaConf


def options_of(kind: type) -> str:
    """Return the options whose object is of a class, with commas between."""
    sources = [source for source in HydraConfig.get().runtime.config_sources if source.provider == "main"]
    files = [file for source in sources for file in Path(source.path).glob("dataset/*.yaml")]
    classes = {file.stem: get_class(str(OmegaConf.select(OmegaConf.load(file), "_target_"))) for file in files}
    return ", ".join(sorted(option for option, found in classes.items() if issubclass(found, kind)))
