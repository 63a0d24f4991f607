"""The dimensions of an ESM3."""

from transformers import AutoConfig, PreTrainedConfig


class ESM3Config(PreTrainedConfig):
    """The dimensions of ESM3; the defaults are those of the published model.

    Attributes:
        vocab_size: rows of the sequence embedding; 33 are used.
        hidden_size: features of the residual stream, a multiple of 8 and of the number of heads.
        intermediate_size: inner features of the gated MLP.
        num_hidden_layers: number of blocks L; what they add is divided by ``sqrt(L / 36)``.
        num_attention_heads: attention heads a block.
        num_geometric_heads: heads of the geometric attention in the first block.
        initializer_range: standard deviation of random weights.
        pad_token_id: padding in the sequence track.
    """

    model_type = "plmdepth_esm3"

    vocab_size: int = 64
    hidden_size: int = 1536
    intermediate_size: int = 4096
    num_hidden_layers: int = 48
    num_attention_heads: int = 24
    num_geometric_heads: int = 256
    initializer_range: float = 0.02
    pad_token_id: int | None = 1
    tie_word_embeddings: bool = False


AutoConfig.register(ESM3Config.model_type, ESM3Config, exist_ok=True)  # so that a saved folder can be read again
