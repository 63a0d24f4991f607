"""Write ``antiberty.safetensors`` and ``sapiens.safetensors``: what the packages themselves compute.

Both need what they were written for, beside this repository's checkout and not in its environment:

    python3.8 -m venv old
    old/bin/pip install torch==1.12.1 transformers==4.5.1 fairseq==0.10.2 'numpy<1.24' 'packaging<22' pandas safetensors
    old/bin/pip install --no-deps antiberty==0.1.3 sapiens==1.0.3
    PYTHONPATH=. old/bin/python tests/golden/make_antibodies.py

For each package there are the published weights on two chains, and a small model with the weights of `recipe`. States
are those after the embedding and after every layer.
"""

import json
from pathlib import Path

CHAINS = (
    "EVQLVESGGGLVQPGGSLRLSC",
    "DIQMTQSPSSLSAS",
)
"""The beginnings of a heavy and a light chain; some of their residues are hidden below."""
HIDDEN = (3, 10, 11)
"""Residues, from 0, that are hidden in every chain."""
FOLDER = Path(__file__).parent


def antiberty(config, state=None):
    """Return ids, states and logits of both chains as AntiBERTy's own classes compute them; padding is cut off."""
    import torch
    from antiberty import AntiBERTy
    from antiberty.AntiBERTyRunner import CHECKPOINT_PATH, VOCAB_FILE
    from transformers import BertConfig, BertTokenizer

    if state is None:
        model = AntiBERTy.from_pretrained(CHECKPOINT_PATH)
    else:
        model = AntiBERTy(BertConfig(**config))
        missing, unknown = model.load_state_dict(state, strict=False)
        assert not unknown, unknown
        assert all("position_ids" in key or "decoder" in key for key in missing), missing  # tied
    model.eval()
    tokenizer = BertTokenizer(VOCAB_FILE, do_lower_case=False)
    texts = [" ".join("[MASK]" if i in HIDDEN else aa for i, aa in enumerate(chain)) for chain in CHAINS]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model(batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True)
    kept = batch["attention_mask"].bool()
    return batch["input_ids"], torch.stack(found.hidden_states)[:, kept], found.prediction_logits[kept]


def sapiens(checkpoint, state=None):
    """Return ids, states and logits of both chains as Sapiens's own reader computes them, each chain alone."""
    import torch
    from sapiens.predict import get_model_path, load_cached_model
    from sapiens.roberta import seq2tokens

    interface = load_cached_model(get_model_path("v1"), checkpoint, cache=False).interface
    model = interface.model
    if state is not None:
        model.load_state_dict({name.replace("decoder.", "encoder.", 1): value for name, value in state.items()})
    model.eval()
    texts = ["".join("X" if i in HIDDEN else aa for i, aa in enumerate(chain)) for chain in CHAINS]
    rows = [seq2tokens(text, interface.task.source_dictionary, True) for text in texts]
    states, logits = [], []
    with torch.no_grad():
        for ids in rows:
            found, extra = model(ids.unsqueeze(0), features_only=False, return_all_hiddens=True)
            states.append(torch.stack(extra["inner_states"])[:, :, 0])
            logits.append(found[0])
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1)
    return ids, torch.cat(states, 1), torch.cat(logits)


def small_config():
    """Return the configuration of a small AntiBERTy."""
    return {
        "vocab_size": 25,
        "hidden_size": 32,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "max_position_embeddings": 130,
    }


def main():
    """Write both files."""
    from antiberty import AntiBERTy
    from sapiens.predict import get_model_path, load_cached_model
    from transformers import BertConfig

    from tests.golden.recipe import drawn_weights

    state = AntiBERTy(BertConfig(**small_config())).state_dict()
    shapes = {name: list(tensor.shape) for name, tensor in state.items() if not name.endswith("position_ids")}
    shapes.pop("cls.predictions.decoder.weight")  # the embedding
    shapes.pop("cls.predictions.decoder.bias")  # that beside it
    found = {"published": antiberty(None), "drawn": antiberty(small_config(), drawn_weights(shapes))}
    write("antiberty", shapes, found)

    # fairseq renames what its file calls a decoder
    state = load_cached_model(get_model_path("v1"), "checkpoint_vh.pt", cache=False).interface.model.state_dict()
    shapes = {name.replace("encoder.", "decoder.", 1): list(tensor.shape) for name, tensor in state.items()}
    shapes.pop("decoder.lm_head.weight")  # the embedding
    shapes.pop("decoder.version", None)
    drawn = drawn_weights(shapes)
    drawn["decoder.lm_head.weight"] = drawn["decoder.sentence_encoder.embed_tokens.weight"]
    found = {name: sapiens(f"checkpoint_{name}.pt") for name in ("vh", "vl")}
    found["drawn"] = sapiens("checkpoint_vh.pt", drawn)
    write("sapiens", shapes, found)


def write(name, shapes, found):
    """Write one golden file: tensors by the name of the weights and of what they are."""
    from safetensors.torch import save_file

    tensors = {
        f"{weights}.{kind}": tensor.contiguous()
        for weights, each in found.items()
        for kind, tensor in zip(("ids", "states", "logits"), each)  # noqa: B905 (of Python 3.10)
    }
    save_file(tensors, str(FOLDER / f"{name}.safetensors"), metadata={"shapes": json.dumps(shapes)})


if __name__ == "__main__":
    main()
