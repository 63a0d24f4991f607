"""The module of ESM3: tracks in, blocks, one head a track."""

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask, packed_sequence_mask_function
from transformers.modeling_outputs import MaskedLMOutput

from plmdepth.language_models.modules.esm3.config import ESM3Config
from plmdepth.language_models.modules.esm3.geometry import GeometricAttention, geometry_of
from plmdepth.language_models.modules.esm3.layers import Block, rotary_tables
from plmdepth.language_models.modules.esm3.tracks import NOTHING_KNOWN, OutputHeads, TrackEmbedding, Tracks


class Transformer(nn.Module):
    """The blocks, of which the first reads coordinates, and the final norm."""

    def __init__(self, config: ESM3Config) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config, is_geometric=n == 0) for n in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, bias=False)


class ESM3Module(PreTrainedModel):
    """ESM3 with all its tracks; its logits are those of the sequence."""

    config_class = ESM3Config
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ["Block"]  # noqa: RUF012 (the base class names the type)

    def __init__(self, config: ESM3Config) -> None:
        super().__init__(config)
        self.encoder = TrackEmbedding(config)
        self.transformer = Transformer(config)
        self.output_heads = OutputHeads(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        sequence_id: Tensor | None = None,
        tracks: Tracks = NOTHING_KNOWN,
        output_hidden_states: bool = False,
    ) -> MaskedLMOutput:
        """Run the model.

        Args:
            input_ids: tokens of the sequence track, ``[batch, token]``.
            sequence_id: tokens of one number attend to each other alone, ``[batch, token]``. None lets every token
                attend to all, padding included.
            tracks: what is known beside the sequence.
            output_hidden_states: return ``h_0 .. h_{L-1}`` and the normalised ``h_L``.
        """
        state = self.encoder(input_ids, tracks)
        states = []
        call = self._call(state, input_ids, sequence_id, tracks)
        for block in self.transformer.blocks:
            states.append(state)
            state = block(state, **call)
        normalised = self.transformer.norm(state)
        return MaskedLMOutput(
            logits=self.output_heads.sequence_head(normalised),
            hidden_states=(*states, normalised) if output_hidden_states else None,
        )

    def _call(self, state: Tensor, ids: Tensor, sequence_id: Tensor | None, tracks: Tracks) -> dict[str, Any]:
        """Return what every block receives beside the state."""
        mask = geometry = None
        if sequence_id is not None:
            together = packed_sequence_mask_function(sequence_id)
            mask = create_bidirectional_mask(self.config, state, attention_mask=None, and_mask_function=together)
        if tracks.coordinates is not None:
            chains = ids.new_zeros(ids.shape) if tracks.chains is None else tracks.chains
            geometry = geometry_of(tracks.coordinates, sequence_id, chains)
        features = self.config.hidden_size // self.config.num_attention_heads
        return {
            "attention_mask": mask,
            "rotary": rotary_tables(ids.shape[1], features, state),
            "geometry": geometry,
        }

    def _init_weights(self, module: nn.Module) -> None:
        """Draw random weights as transformers does, also of the parts that it does not know."""
        super()._init_weights(module)
        if isinstance(module, nn.EmbeddingBag):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, GeometricAttention):
            init.zeros_(module.distance_scale_per_head)
            init.zeros_(module.rotation_scale_per_head)
