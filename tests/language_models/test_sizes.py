"""The architecture of every option at its true size, on no device: it has the published number of parameters."""

import pytest

from tests.language_models.sizes import built_size, options

PARAMETERS = {
    # ESM-2 with its contact head; the tied decoder counts once
    "esm2_8m": 7_512_474,
    "esm2_35m": 33_501_394,
    "esm2_150m": 148_140_154,
    "esm2_650m": 651_043_254,
    "esm2_3b": 2_839_005_634,
    "esm2_15b": 15_129_100_194,
    # as many as fair-esm's own ProteinBertModel has at this size
    "esm1b_650m": 652_359_094,
    **{f"esm1v_650m_{number}": 652_356_534 for number in range(1, 6)},
    # ESM-2's architecture; the contact head, which DPLM's files lack, is counted here too
    "dplm_150m": 148_140_154,
    "dplm_650m": 651_043_254,
    "dplm_3b": 2_839_005_634,
    # ESM-2's with 8,229 rows, a head of its own and the contact head, which is counted here too
    "dplm2_150m": 158_660_350,
    "dplm2_650m": 672_075_450,
    "dplm2_3b": 2_881_061_830,
    # ESM-2's and 413 more tokens, each a row of the embedding and a bias of the head
    "saprot_35m": 33_501_394 + 413 * 481,
    "saprot_650m": 651_043_254 + 413 * 1281,
    # ProGen2 with an untied head; 51,200 rows at large and BFD90, of which 30 are used
    "progen2_small": 151_148_576,
    "progen2_medium": 764_803_616,
    "progen2_oas": 764_803_616,
    "progen2_base": 764_803_616,
    "progen2_large": 2_779_356_160,
    "progen2_bfd90": 2_779_356_160,
    "progen2_xlarge": 6_443_638_816,
    # as transformers' language models have them, without pooling and the heads for sentences; tied decoders count once
    "prot_bert": 419_933_214,
    "prot_bert_bfd": 419_933_214,
    "bert_base": 109_514_298,
    # ALBERT's with fewer tokens and more positions
    "prot_albert": 206_368_944 - (30_000 - 34) * 129 + (40_000 - 512) * 128,
    "albert_xxlarge": 206_368_944,
    "prot_xlnet": 409_413_669,
    "xlnet_large": 360_300_800,
    # ESM-C and ESM3 with all 64 rows of their vocabulary; ESM3 with the heads of all its tracks
    "esmc_300m": 332_997_184,
    "esmc_600m": 575_036_992,
    "esmc_6b": 6_352_005_184,
    "esm3_1b": 1_401_735_748,
    # both stacks of T5; ProstT5 has 22 more tokens than ProtT5, each a row of 1024
    "prot_t5_xl_u50": 2_818_830_336,
    "prot_t5_xl_bfd": 2_818_830_336,
    "prost_t5": 2_818_830_336 + 22 * 1024,
    "t5_3b": 2_851_598_336,
    # no published count; their heads of 144 rows are counted as tied here, as transformers ties them
    "ankh_base": 736_343_040,
    "ankh_large": 1_878_483_968,
    # as many as GPT-2 large, whose sizes it has
    "protgpt2": 774_030_080,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_model_has_the_published_number_of_parameters(name: str) -> None:
    assert built_size(name).parameters == PARAMETERS[name]


def test_every_size_of_every_family_is_counted() -> None:
    assert set(PARAMETERS) == {option for option in options() if "tiny" not in option}
