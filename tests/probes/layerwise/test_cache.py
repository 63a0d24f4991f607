"""The cache: computed once, resumed after a kill, checked, within its budget."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.probes.layerwise import cache as module
from plmdepth.probes.layerwise.cache import FeatureCache
from plmdepth.proteins.protein import Protein

PROTEINS = tuple(Protein(f"p{n}", "A" * (1 + 7 * n % 23)) for n in range(50))
SHAPE = (3, 2)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD", 8)


def cache(folder: Path, **changes: object) -> FeatureCache:
    options = {"folder": folder, "facts": {"model": "m"}, "proteins": PROTEINS, "shape": SHAPE}
    options |= {"dtype": torch.float32, "tokens_per_batch": 40}
    return FeatureCache(**(options | changes))  # type: ignore[arg-type]


def feature_of(protein: Protein) -> Tensor:
    return torch.arange(6.0).view(SHAPE) + 10 * int(protein.id[1:]) + len(protein)


class Computing:
    """Counts the proteins that it was asked for; fails once it has seen some number of them."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.seen: list[str] = []
        self.fails_after = fails_after

    def __call__(self, proteins: Sequence[Protein]) -> Tensor:
        if self.fails_after is not None and len(self.seen) >= self.fails_after:
            raise KeyboardInterrupt
        self.seen += [protein.id for protein in proteins]
        return torch.stack([feature_of(protein) for protein in proteins])


def expected() -> Tensor:
    return torch.stack([feature_of(protein) for protein in PROTEINS])


def test_features_come_in_the_order_of_the_proteins_and_each_is_computed_once(tmp_path: Path) -> None:
    computing = Computing()
    assert torch.equal(cache(tmp_path).features(computing), expected())
    assert sorted(computing.seen) == sorted(protein.id for protein in PROTEINS)


def test_a_second_reading_computes_nothing(tmp_path: Path) -> None:
    cache(tmp_path).features(Computing())
    again = Computing()
    assert torch.equal(cache(tmp_path).features(again), expected())
    assert again.seen == []


def test_after_a_kill_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    killed = Computing(fails_after=30)
    with pytest.raises(KeyboardInterrupt):
        cache(tmp_path).features(killed)
    resumed = Computing()
    assert torch.equal(cache(tmp_path).features(resumed), expected())
    lost = len(resumed.seen) - (len(PROTEINS) - len(killed.seen))
    assert 0 <= lost < 8


def test_a_damaged_shard_is_computed_again(tmp_path: Path) -> None:
    cache(tmp_path).features(Computing())
    shard = sorted(cache(tmp_path).place.glob("*.safetensors"))[2]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(bytes(content))
    again = Computing()
    assert torch.equal(cache(tmp_path).features(again), expected())
    assert len(again.seen) == 8


def test_the_place_belongs_to_model_proteins_and_precision_but_not_to_the_batch_size(tmp_path: Path) -> None:
    here = cache(tmp_path).place
    assert cache(tmp_path, tokens_per_batch=99).place == here
    for change in ({"facts": {"model": "n"}}, {"proteins": PROTEINS[:-1]}, {"dtype": torch.float16}):
        assert cache(tmp_path, **change).place != here


def test_half_precision_halves_the_size(tmp_path: Path) -> None:
    half = cache(tmp_path, dtype=torch.float16)
    assert half.n_bytes * 2 == cache(tmp_path).n_bytes == 50 * 6 * 4
    assert half.features(Computing()).dtype == torch.float16


def test_more_than_the_budget_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    big = cache(tmp_path / "features", shape=(1000, 1000))
    big.check_budget(0.2)
    with pytest.raises(InputError, match=r"50 proteins take 0\.20 GB, probe\.cache_gigabytes is 0\.1; raise it, or"):
        big.check_budget(0.1)
    assert not (tmp_path / "features").exists()
