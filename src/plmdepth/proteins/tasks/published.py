"""Where the files of every task are published, and how each is known to be right.

Addresses name a commit, so what they stand for cannot change. Not listed are PEER's archives, which hold pickles, and
the train set of NetSurfP-2.0 as CSV, for which no sum and no count is known.
"""

from plmdepth.proteins.tasks.download import Remote

_GITHUB = "https://raw.githubusercontent.com"
_DEEPFRI = f"{_GITHUB}/flatironinstitute/DeepFRI/3bd6c7eae67894ccedbe1117e33b3abe544bca71/preprocessing/data"
_LIGHT_ATTENTION = f"{_GITHUB}/HannesStark/protein-localization/7b0be1e64a91db8ad1a8feae994a4d09aa9d7b1b/data_files"
_FLIP = f"{_GITHUB}/J-SNACKKB/FLIP/62cace8735f5610e2743cf06ce0f944b37fffaa6/splits/secondary_structure"
_PS4 = f"{_GITHUB}/omarperacha/ps4-dataset/e1820264e0762fb44d496f53e08cdcb7ddf92598/ps4_data/data"
_PROTEINEA = (
    "https://huggingface.co/datasets/proteinea/secondary_structure_prediction"
    "/resolve/5d2e1b432e824bfa2888f52d3d12ed18a292c8ab"
)


def _at(
    base: str, path: str, size: int | None = None, sha256: str | None = None, git_blob: str | None = None
) -> Remote:
    return Remote(path.rsplit("/", 1)[-1], f"{base}/{path}", size, sha256, git_blob)


EC = (
    _at(
        _DEEPFRI,
        "nrPDB-EC_2020.04_annot.tsv",
        442511,
        "79e429e2efe9f8a9ad973ddb27c1ba1425f2b6aa1989fb01fe10f65a84899ed1",
    ),
    _at(_DEEPFRI, "nrPDB-EC_2020.04_sequences.fasta", git_blob="d97e76dbb82a28895ef71d8eae4d0a262d115176"),
    _at(
        _DEEPFRI,
        "nrPDB-EC_2020.04_train.txt",
        108900,
        "5b674928876400203c6eb1e96250b951676024f17b2cfecf48de4f822a2606db",
    ),
    _at(
        _DEEPFRI,
        "nrPDB-EC_2020.04_valid.txt",
        12109,
        "2630c4d46fc35965979b57bfc1476f5cc3da17ac227c8beca9e12a3d1caf6fc2",
    ),
    _at(
        _DEEPFRI,
        "nrPDB-EC_2020.04_test.txt",
        13439,
        "e1cfd23416673a9f594ee4c1f01c03f463baeb52ea1310f7d4b87868a28ccafe",
    ),
    _at(
        _DEEPFRI,
        "nrPDB-EC_2020.04_test.csv",
        34584,
        "3cbaef7f4c022519c2f57d021ee84b6d2c342459525aec25ed056a7c2b9ad209",
    ),
)

GO = (
    _at(_DEEPFRI, "nrPDB-GO_2019.06.18_annot.tsv", git_blob="95dfaa87015c82e604cee3cbdb799cd63c37b23d"),
    _at(_DEEPFRI, "nrPDB-GO_2019.06.18_sequences.fasta", git_blob="489ff9610939e0748d4d9f6d11ac4998d30822e7"),
    _at(
        _DEEPFRI,
        "nrPDB-GO_2019.06.18_train.txt",
        210233,
        "a2a42742ce45379f2ac19cde091b29f3c79de9e94c30fd3dbb401c0a252f00fe",
    ),
    _at(
        _DEEPFRI,
        "nrPDB-GO_2019.06.18_valid.txt",
        23361,
        "d72bf584d50ae1dd215fad031ccdada0399a32659ea753c2679756dba3fa1bf1",
    ),
    _at(
        _DEEPFRI,
        "nrPDB-GO_2019.06.18_test.txt",
        24066,
        "d164fe100ea90f723dfa39c22c7ea04d93eb949f4fe0866ce93f66c825a0e448",
    ),
    _at(
        _DEEPFRI,
        "nrPDB-GO_2019.06.18_test.csv",
        61678,
        "0040f604ddb7e6cb4b05436e1956d5fe91a1a68067a5dfc13a8932eb4bdf6e49",
    ),
)

DEEPLOC_TRAIN = _at(
    _LIGHT_ATTENTION, "deeploc_our_train_set.fasta", git_blob="1b71634fa1288227fc4f2fbc10da38583a0810fd"
)
DEEPLOC_COMPLETE = _at(
    _LIGHT_ATTENTION, "deeploc_complete_dataset.fasta", git_blob="865f7a30d7899dcc5c3e3e84f9bb967bea25ac1e"
)
DEEPLOC_VALID = _at(
    _LIGHT_ATTENTION,
    "deeploc_our_val_set.fasta",
    935779,
    "5fddf9a7c076c7a0c34e46bdf8a530fddb8cd17a54b28d8e7ebcf3d4fbbf77d6",
)
DEEPLOC_TEST = _at(
    _LIGHT_ATTENTION,
    "deeploc_test_set.fasta",
    1594743,
    "b4d4fb4dbf53e87fb1bff9cbad41919c7c1f2615299a0dd50ecb5a4d002b4b6a",
)
DEEPLOC_HARD = _at(
    _LIGHT_ATTENTION, "setHARD.fasta", 276477, "a6522e6bd9a36acfd1932851b4d7ed855981586bddd835441886a40413eeb908"
)

FLIP = Remote(
    "splits.zip",
    f"{_FLIP}/splits.zip",
    2321037,
    "2e9bbbfd18a055bcac7edd4e059a6bf4bb35ca3ad8f8fa4fc3106422652a4726",
    members={
        f"splits/{name}": f"flip_secondary_structure/{name}"
        for name in ("sequences.fasta", "sampled.fasta", "mask.fasta")
    },
)
NETSURFP_TESTS = (
    _at(
        _PS4,
        "cb513/CB513_HHblits.csv",
        2016196,
        "829e357259fd132e945af4ea4ffa4233f135e886b749a2fc5111b41102537afc",
    ),
    _at(_PS4, "ts115/TS115_HHblits.csv", 415898, "4c1bc9ff1b83c4f26f1d7e3df9a5efaea3a450a5e1be34cc52b9c168774049b7"),
    Remote("CASP12.csv", f"{_PROTEINEA}/CASP12.csv", lines=21),
)
