"""The cache: computed once, resumed after a kill, checked."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.probes.layerwise import cache as module
from plmdepth.probes.layerwise.cache import FeatureCache
from plmdepth.probes.layerwise.data import StoredResidues
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


def row_of(protein: Protein) -> Tensor:
    return feature_of(protein)[None]


def residues_of(protein: Protein) -> Tensor:
    return feature_of(protein) + torch.arange(len(protein)).view(-1, 1, 1) / 64


class Computing:
    """Counts the proteins that it was asked for; fails once it has seen some number of them."""

    def __init__(self, fails_after: int | None = None, feature: Callable[[Protein], Tensor] = row_of) -> None:
        self.seen: list[str] = []
        self.fails_after, self.feature = fails_after, feature

    def __call__(self, proteins: Sequence[Protein]) -> Tensor:
        if self.fails_after is not None and len(self.seen) >= self.fails_after:
            raise KeyboardInterrupt
        self.seen += [protein.id for protein in proteins]
        return torch.cat([self.feature(protein) for protein in proteins])


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


def test_half_precision_halves_the_files(tmp_path: Path) -> None:
    for dtype, size in ((torch.float16, 2), (torch.bfloat16, 2), (torch.float32, 4)):
        here = cache(tmp_path, dtype=dtype)
        torch.testing.assert_close(here.features(Computing()), expected().to(dtype))
        kept = [load_file(path)["features"] for path in here.place.glob("*.safetensors")]
        assert sum(each.numel() * each.itemsize for each in kept) == 50 * 6 * size


def test_features_that_the_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"too large for float16; use probe\.cache_dtype=float32"):
        cache(tmp_path, dtype=torch.float16).features(lambda proteins: torch.full((len(proteins), *SHAPE), 1e6))


def test_a_killed_pass_leaves_the_files_of_one_that_was_not(tmp_path: Path) -> None:
    whole, resumed = (cache(tmp_path / name, n_rows=len) for name in ("whole", "resumed"))
    list(whole.shards(Computing(feature=residues_of)))
    with pytest.raises(KeyboardInterrupt):
        list(resumed.shards(Computing(fails_after=30, feature=residues_of)))
    assert 0 < len(list(resumed.place.glob("*.json"))) < 7
    list(resumed.shards(Computing(feature=residues_of)))
    assert contents(resumed) == contents(whole)


def test_residues_are_read_by_protein_from_files_of_many(tmp_path: Path) -> None:
    shards = cache(tmp_path, n_rows=len).shards(Computing(feature=residues_of))
    stored = StoredResidues(shards, [len(protein) for protein in PROTEINS])
    for rows in ([3], [0, 49, 7], list(range(50))):
        assert torch.equal(stored(rows), torch.cat([residues_of(PROTEINS[row]) for row in rows]))


def test_a_file_holds_so_many_bytes_at_most_or_one_protein(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_BYTES", 24 * 20)  # 20 residues of 6 numbers
    shards = list(cache(tmp_path, n_rows=len).shards(Computing(feature=residues_of)))
    sizes = [[len(PROTEINS[member]) for member in shard.members] for shard in shards]
    assert all(sum(each) <= 20 or len(each) == 1 for each in sizes)
    assert max(map(len, sizes)) > 1
    assert sorted(member for shard in shards for member in shard.members) == list(range(50))


def test_files_of_other_proteins_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = cache(tmp_path, n_rows=len)
    list(here.shards(Computing(feature=residues_of)))
    monkeypatch.setattr(module, "SHARD", 5)  # as of another version
    shards = here.shards(Computing(feature=residues_of))
    stored = StoredResidues(shards, [len(protein) for protein in PROTEINS])
    assert torch.equal(stored(range(50)), torch.cat([residues_of(protein) for protein in PROTEINS]))


def contents(cache: FeatureCache) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.place.iterdir() if path.suffix != ".partial"}
