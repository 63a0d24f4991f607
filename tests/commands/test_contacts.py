"""From the command line: which layers hold contacts, on the grammar and on real chains; mistakes are told."""

from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from plmdepth.results.record import read_record
from tests.commands.probing import invoke, refusal

FEW = ("dataset.train_proteins=8", "dataset.valid_proteins=6", "dataset.test_proteins=12", "probe.n_replicates=50")


def records(folder: Path) -> list[Path]:
    return [path.parent for path in folder.glob("outputs/train/*/*/contact/*/result.json")]


def test_the_bundled_model_finds_the_couplings_in_known_layers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("probe=contact", "dataset=demo_contact", "model=tiny_masked", *FEW)
    assert invoke(tmp_path, "train", *arguments) == 0
    shown = capsys.readouterr().out
    (folder,) = records(tmp_path)
    record = read_record(folder)
    scalars, intervals = record.result["scalars"], record.result["scalar_intervals"]
    assert scalars["best_layer"] in (6, 8, 10)
    assert scalars["test_precision_at_l_best"] > 20 * scalars["test_precision_at_l_random"]
    assert scalars["test_precision_at_l_best"] > 0.95 * scalars["test_precision_at_l_perfect"]
    assert intervals["test_precision_at_l_over_separation"]["low"] > 0
    assert {path.name for path in folder.iterdir()} == {
        *("config.yaml", "status.json", "result.json", "curves.parquet", "layers.csv", "regressions.safetensors"),
        "figures",
    }
    assert {path.name for path in (folder / "figures").iterdir()} == {"contacts.png", "contacts.svg"}
    curves = record.curves
    assert set(curves["layer"]) == set(range(1, 13))
    assert set(curves["component"]) == {"long", "medium", "short"}
    assert curves.query("component != 'long'")["value"].isna().all()  # no coupling is that near: left out, not 0
    assert (curves.query("component != 'long'")["n"] == 0).all()
    layers = pd.read_csv(folder / "layers.csv")
    assert layers["layer"][0] == scalars["best_layer"]
    assert sorted(layers["layer"]) == list(range(1, 13))
    last = layers[layers["layer"] == 12]
    assert (last[[f"test_difference_to_last{end}" for end in ("", "_low", "_high")]] == 0).all().all()
    assert load_file(folder / "regressions.safetensors")["weight"].shape == (12, 12, 4)
    assert "training pairs, " in shown
    assert "one pass" in shown
    assert f"Layer {int(scalars['best_layer'])} is the best on validation" in shown
    assert "the separation alone" in shown
    left = {(each["quantity"], each["component"]) for each in record.result["task"]["left_out"]["test"]}
    assert ("precision_at_l", "medium") in left
    assert ("precision_at_l", "long") not in left
    assert invoke(tmp_path, "train", *arguments, "probe.gigabytes=1") == 0  # decides no number
    assert "was done before and is not run again" in capsys.readouterr().out


def test_a_smaller_budget_runs_proteins_more_often_for_the_same_numbers(tmp_path: Path) -> None:
    curves = []
    for place, gigabytes in (("one", 4.0), ("many", 0.001)):
        arguments = ("probe=contact", "dataset=demo_contact", *FEW, f"probe.gigabytes={gigabytes}", "dataset.limit=4")
        (tmp_path / place).mkdir()
        assert invoke(tmp_path / place, "train", *arguments) == 0
        (folder,) = records(tmp_path / place)
        record = read_record(folder)
        curves.append((record.result["training"]["passes"], record.curves["value"]))
    assert (curves[0][0], curves[1][0]) == (1, 3)
    pd.testing.assert_series_equal(curves[0][1], curves[1][1])


@pytest.mark.parametrize("model", ["esm2_8m", "prot_xlnet", "esmc_300m", "progen2_small"])
def test_real_chains_are_read_by_other_families(shared_data: Path, tmp_path: Path, model: str) -> None:
    root = shared_data / "structures" / "pdb_ec_test"
    options = (f"model={model}", "model.miniature=true", "dataset.limit=6", "probe.n_replicates=20")
    assert invoke(tmp_path, "train", "probe=contact", "dataset=contact", f"dataset.root={root}", *options) == 0
    (folder,) = records(tmp_path)
    record = read_record(folder)
    assert record.result["task"]["proteins"] == {"train": 2, "valid": 2, "test": 2}
    values = record.curves["value"]
    assert values.notna().all()
    assert values.between(0, 1).all()
    assert record.result["scalars"]["test_precision_at_l_perfect"] > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dataset=demo",), "error: dataset=demo has no contacts; these have: contact, demo_contact"),
        (("dataset=demo_family",), "error: dataset=demo_family has no contacts; these have: contact, demo_contact"),
        (("dataset=contact",), "error: dataset.root is required; give dataset.root=VALUE"),
        (("dataset=contact", "dataset.root=nowhere"), "error: no such folder: nowhere; give dataset.root a folder"),
        (("dataset=contact", "dataset.root=."), "error: . holds no structure file; expected names that end in .pdb"),
        (
            ("dataset=demo_contact", *FEW, "dataset.max_length=40", "dataset.length_policy=truncate"),
            "error: dataset=demo_contact: ",
        ),
        (("dataset=demo_contact", *FEW, "probe.gigabytes=1e-9"), "error: "),
        (
            ("dataset=demo_contact", *FEW, "model=prot_t5_xl_u50", "model.miniature=true"),
            "error: the decoder of prot_t5_xl_u50 reads what it has written and not the protein; use model.part=enc",
        ),
        (
            ("dataset=demo_contact", *FEW, "model=esm3_1b", "model.modality=both", "model.miniature=true"),
            "error: model.modality=both reads structures, and probes read sequences; use model.modality=sequence",
        ),
        (("dataset=demo_contact", *FEW, "probe.max_pairs=0"), "error: probe.max_pairs=0: give 1 pair or more"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, tmp_path, "train", "probe=contact", *arguments).startswith(message)
    assert not records(tmp_path)


def test_a_dataset_of_contacts_is_refused_by_other_probes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, tmp_path, "train", "probe=linear", "dataset=demo_contact")
    assert line.startswith("error: dataset=demo_contact has no labels; these have: ")


def test_contacts_cannot_be_left_early(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(tmp_path, "train", "probe=contact", "dataset=demo_contact", *FEW, "dataset.limit=4") == 0
    (folder,) = records(tmp_path)
    line = refusal(capsys, tmp_path, "analyze", "exit=early", f"probe_run={folder}")
    assert line.endswith("is no run of heads; choose one of probe=linear or mlp")
