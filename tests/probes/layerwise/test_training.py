"""Training all heads at once: each learns its own layer alone, and is kept at its own best moment."""

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn

from plmdepth.probes.layerwise.data import Kept, Passes, loader
from plmdepth.probes.layerwise.heads import LayerHeads, linear_head, mlp_head
from plmdepth.probes.layerwise.losses import multiclass_loss, multilabel_loss
from plmdepth.probes.layerwise.recipe import LinearRecipe, MLPRecipe
from plmdepth.probes.layerwise.training import HeadTraining

N_LAYERS, WIDTH, N_CLASSES = 4, 6, 3
TELLING = 2  # the only layer whose features hold the label


def features_and_labels(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(N_CLASSES, (n,), generator=generator)
    features = torch.randn((n, N_LAYERS, WIDTH), generator=generator)
    features[:, TELLING, :N_CLASSES] += 4 * nn.functional.one_hot(labels, N_CLASSES)
    return features, labels


def trained(recipe: LinearRecipe, n: int = 128) -> HeadTraining:
    torch.manual_seed(0)
    heads = LayerHeads(recipe.head, N_LAYERS, WIDTH, N_CLASSES)
    module = HeadTraining(heads, multiclass_loss, recipe)
    train, valid = (features_and_labels(n, seed) for seed in (1, 2))
    loaders = [loader(Kept(*data), Passes(n, recipe.batch_size, seed)) for data, seed in ((train, 0), (valid, None))]
    options = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(max_epochs=recipe.epochs, accelerator="cpu", enable_progress_bar=False, **options)
    trainer.fit(module, *loaders)
    return module


def losses_on(module: HeadTraining, seed: int) -> Tensor:
    features, labels = features_and_labels(256, seed)
    module.heads.eval()
    with torch.no_grad():
        return multiclass_loss(module.heads(features), labels)


def test_only_the_layer_that_holds_the_label_learns_it() -> None:
    losses = losses_on(trained(LinearRecipe(epochs=15, batch_size=16, learning_rate=0.02)), seed=3)
    assert losses[TELLING] < 0.2
    others = torch.cat([losses[:TELLING], losses[TELLING + 1 :]])
    assert others.min() > 0.9


def test_every_head_is_kept_at_its_own_lowest_validation_loss() -> None:
    module = trained(LinearRecipe(epochs=12, batch_size=16, learning_rate=0.3))
    kept = losses_on_validation(module)
    lowest = [min(row["val/loss"] for row in module.history if row["layer"] == layer) for layer in range(N_LAYERS)]
    torch.testing.assert_close(kept.tolist(), lowest, rtol=1e-4, atol=1e-5)
    last = [row["val/loss"] for row in module.history[-N_LAYERS:]]
    assert max(b - a for a, b in zip(lowest, last, strict=True)) > 0.01


def test_a_loss_that_still_falls_is_told_from_one_that_rests() -> None:
    assert not trained(LinearRecipe(epochs=10, batch_size=16, learning_rate=1e-3)).converged[TELLING]
    module = HeadTraining(LayerHeads(linear_head, 2, WIDTH, N_CLASSES), multiclass_loss, LinearRecipe())
    for epoch in range(20):
        falling, resting = 0.9**epoch, max(0.5, 0.8**epoch)
        module.history += [
            {"epoch": epoch, "layer": layer, "val/loss": loss} for layer, loss in ((4, falling), (7, resting))
        ]
    assert module.converged == {4: False, 7: True}


def losses_on_validation(module: HeadTraining) -> Tensor:
    features, labels = features_and_labels(128, 2)
    module.heads.eval()
    with torch.no_grad():
        return multiclass_loss(module.heads(features), labels)


def test_training_ends_when_no_layer_gets_better() -> None:
    module = trained(LinearRecipe(epochs=100, batch_size=16, learning_rate=0.3, stop_after=3))
    assert max(row["epoch"] for row in module.history) < 60


def test_a_layer_that_gets_no_better_slows_down_alone() -> None:
    module = trained(LinearRecipe(epochs=10, batch_size=16, learning_rate=0.02, patience=1))
    rates = [group["lr"] for group in module.trainer.optimizers[0].param_groups]
    assert min(rates[:TELLING]) < rates[TELLING]


def test_a_head_reads_its_own_layer_alone() -> None:
    heads = LayerHeads(linear_head, N_LAYERS, WIDTH, N_CLASSES).eval()
    features, labels = features_and_labels(5, 0)
    features.requires_grad_()
    multiclass_loss(heads(features), labels)[1].backward()
    assert features.grad is not None
    assert features.grad[:, 1].abs().sum() > 0
    assert features.grad[:, [0, 2, 3]].abs().sum() == 0
    torch.testing.assert_close(heads.read(1, features[:, 1]), heads(features)[:, 1])


def test_the_published_head_has_its_parts_in_order() -> None:
    head = mlp_head(8, 3, None, 0.2, batch_norm=True)
    kinds = [type(part).__name__ for part in head.children()]
    assert kinds == ["BatchNorm1d", "LeakyReLU", "Dropout", "Linear", "BatchNorm1d", "LeakyReLU", "Linear"]
    recipe = MLPRecipe()
    assert (recipe.learning_rate, recipe.batch_size, recipe.epochs, recipe.dropout) == (1e-4, 8, 50, 0.2)
    assert (recipe.factor, recipe.patience) == (0.6, 5)


def test_the_losses_are_means_over_rows_and_classes() -> None:
    logits = torch.tensor([[[0.3, -1.0]], [[2.0, 0.5]]])
    p = logits[:, 0].double().sigmoid()
    wanted = torch.tensor([[True, False], [False, True]])
    naive = -torch.where(wanted, p.log(), (1 - p).log()).mean()
    torch.testing.assert_close(multilabel_loss(logits, wanted).double(), naive[None])
    labels = torch.tensor([1, 0])
    naive = -logits[:, 0].double().log_softmax(-1)[[0, 1], labels].mean()
    torch.testing.assert_close(multiclass_loss(logits, labels).double(), naive[None])
    alone = -logits[:1, 0].double().log_softmax(-1)[0, labels[0]]
    torch.testing.assert_close(multiclass_loss(logits[:1], labels[:1]).double(), alone[None])
    assert multiclass_loss(logits[:0], labels[:0]).tolist() == [0.0]  # no residue of a batch is scored


def test_a_pass_holds_every_row_once_in_an_order_of_its_own() -> None:
    passes = Passes(9, 4, seed=0)
    first = list(passes)
    passes.set_epoch(1)
    second = list(passes)
    assert list(Passes(9, 4, seed=None)) == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    for order in (first, second):
        assert sorted(row for batch in order for row in batch) == list(range(9))
    assert first != second
    assert [len(batch) for batch in first] == [4, 5]  # no protein is alone
    assert len(passes) == 2
