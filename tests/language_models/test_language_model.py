"""What a language model as configured refuses, whatever its family."""

from dataclasses import replace

import pytest

from plmdepth.errors import InputError
from tests.stacks import ALL


@pytest.mark.parametrize("name", [name for name, model in ALL.items() if model.modalities == ("sequence",)])
def test_families_that_read_residues_alone_say_so(name: str) -> None:
    for modality in ("structure", "both"):
        with pytest.raises(InputError, match=rf"^model.modality={modality}: \S+ reads sequence alone$"):
            replace(ALL[name], modality=modality)
