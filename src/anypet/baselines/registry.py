"""Every system that the papers compare with: what it is, its licence, and how its weights are had."""

from __future__ import annotations

from anypet.baselines.base import Baseline
from anypet.errors import AnyPETError

_EXTRA = "pip install 'anypet[baselines]'"
_TRAIN = "train it with `anypet train-baseline {} -o RUN` and give RUN/weights.pt"
_SAM_FOLDER = (
    "fetch {} from the Hugging Face Hub (`hf download {}`) and give the folder that holds config.json"
)
_MED3D = "SAM-Med3D (Wang et al. 2024, arXiv:2310.15161): a 3D ViT; {}"
_FILE_SHARE = (
    "github.com/uni-medical/SAM-Med3D links {} on a file-sharing site; give the .pth file, which runs no code"
)

_BASELINES = (
    Baseline("default", "own", "AnyPET's own network, packaged", "Apache-2.0", loader="own:load_default"),
    Baseline(
        "compact",
        "own",
        "the same network, trained by you",
        "Apache-2.0 (code); the weights are yours",
        "train it with `anypet train compact -o RUN` and give RUN/weights.safetensors",
        "own:load_compact",
    ),
    Baseline(
        "classical",
        "classical",
        "thresholds as readers use them, and the random walker",
        "Apache-2.0",
        loader="own:load_classical",
    ),
    Baseline(
        "segany-vit-b",
        "promptable",
        "SegAnyPET v1 (Zhang et al., arXiv:2502.14351)",
        "none stated by the publisher: ask the authors",
        "seganypet_v1.pth of YichiZhang98/SegAnyPET on the Hugging Face Hub: `anypet models fetch "
        "segany-vit-b`, or give the file",
        "own:load_segany",
        options={"model": "segany-vit-b", "title": "SegAnyPET"},
    ),
    Baseline(
        "sam",
        "slices",
        "SAM (Kirillov et al. 2023), slice by slice",
        "Apache-2.0, code and weights",
        _SAM_FOLDER.format("facebook/sam-vit-base", "facebook/sam-vit-base"),
        "sam:load_sam",
        ("transformers",),
        _EXTRA,
        options={"title": "SAM", "style": "sam"},
    ),
    Baseline(
        "medsam",
        "slices",
        "MedSAM (Ma et al. 2024, doi:10.1038/s41467-024-44824-z), slice by slice",
        "Apache-2.0, code and weights",
        _SAM_FOLDER.format("wanglab/medsam-vit-base", "wanglab/medsam-vit-base"),
        "sam:load_sam",
        ("transformers",),
        _EXTRA,
        options={"title": "MedSAM", "style": "medsam"},
    ),
    Baseline(
        "sam-med3d",
        "promptable",
        _MED3D.format("as first released"),
        "Apache-2.0, as its page says",
        _FILE_SHARE.format("sam_med3d.pth"),
        "own:load_segany",
        options={"model": "sam-med3d", "title": "SAM-Med3D"},
    ),
    Baseline(
        "sam-med3d-organ",
        "promptable",
        _MED3D.format("fine-tuned on organs"),
        "Apache-2.0, as its page says",
        _FILE_SHARE.format("sam_med3d_organ.pth"),
        "own:load_segany",
        options={"model": "sam-med3d", "title": "SAM-Med3D-organ"},
    ),
    *(
        Baseline(
            name,
            "promptable",
            _MED3D.format(summary),
            "Apache-2.0, as its page says",
            "sam_med3d_turbo.pth of blueyo0/SAM-Med3D on the Hugging Face Hub" + needs,
            "own:load_segany",
            sha256="899a46d04d3b70f723282ceb489149373558bf0aaba389a346f5ab57da5cdd3c",
            options={"model": "sam-med3d-turbo", "title": title, "ct": ct},
            image="CT" if ct else "PET",
        )
        for name, summary, title, needs, ct in (
            ("sam-med3d-turbo", "fine-tuned on 44 data sets", "SAM-Med3D-turbo", "", False),
            (
                "sam-med3d-turbo-ct",
                "turbo, on the CT laid on the PET's grid (the paper's Table 6)",
                "SAM-Med3D-turbo (CT)",
                "; the cases need a CT",
                True,
            ),
        )
    ),
    Baseline(
        "nninteractive",
        "promptable",
        "nnInteractive (Isensee et al. 2025, arXiv:2503.08373)",
        "code Apache-2.0; weights CC BY-NC-SA 4.0 (not for commercial use)",
        "fetch nnInteractive/nnInteractive from the Hugging Face Hub and give the model's folder (with "
        "plans.json and fold_0); its checkpoint is unpickled, which runs what it holds: trust its source",
        "nninteractive:load_nninteractive",
        ("nnInteractive.inference.inference_session",),
        "pip install 'anypet[nninteractive]'",
    ),
    Baseline(
        "vista3d",
        "promptable",
        "VISTA3D (He et al. 2025, arXiv:2406.05285): points, zero-shot; made for CT",
        "code Apache-2.0; weights under NVIDIA's non-commercial licence (NCLS)",
        "fetch MONAI's bundle vista3d (`python -m monai.bundle download vista3d`) and give models/model.pt",
        "vista3d:load_vista3d",
        ("monai.networks.nets.vista3d",),
        _EXTRA,
    ),
    *(
        Baseline(
            name,
            "automatic",
            summary,
            "Apache-2.0 (code); the weights are yours",
            _TRAIN.format(name),
            "task:load_task",
            ("monai.inferers", *extra),
            _EXTRA,
        )
        for name, summary, extra in (
            ("segresnet", "SegResNet (Myronenko 2018, arXiv:1810.11654), MONAI's", ()),
            ("swinunetr", "Swin UNETR (Hatamizadeh et al. 2022, arXiv:2201.01266), MONAI's", ("einops",)),
        )
    ),
    *(
        Baseline(
            name,
            "automatic",
            summary,
            "Apache-2.0 (code); the weights are yours",
            f"train it with `anypet train-baseline {name} -o RUN` and give RUN/weights; {other}",
            "nnunet:load_nnunet",
            ("nnunetv2",),
            "pip install 'anypet[nnunet]'",
            options={"title": title},
        )
        for name, title, summary, other in (
            (
                "nnunet",
                "nnU-Net",
                "nnU-Net (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z): its own plans, trainer and "
                "predictor",
                "or any folder that nnU-Net trained on the PET alone",
            ),
            (
                "stunet",
                "STU-Net",
                "STU-Net small (Huang et al. 2023, arXiv:2304.06716) in nnU-Net's trainer, from the start",
                "its released weights are for CT",
            ),
        )
    ),
    Baseline(
        "totalsegmentator",
        "automatic",
        "TotalSegmentator (Wasserthal et al. 2023, doi:10.1148/ryai.230024) on the CT laid on the PET's "
        "grid (the paper's Table 6)",
        "Apache-2.0, code and the weights of task `total` (other tasks have licences of their own)",
        "`totalseg_download_weights -t total` (3 mm: `-t total_fast`), its own command, fetches them: give "
        "~/.totalsegmentator, or the folder of Dataset291_TotalSegmentator_...; the cases need a CT",
        "totalsegmentator:load_totalsegmentator",
        ("totalsegmentator.python_api",),
        "pip install 'anypet[totalsegmentator]', which brings VTK and dipy for its previews; or, without "
        "these, pip install 'anypet[nnunet]' dicom2nifti && pip install --no-deps TotalSegmentator",
        image="CT",
    ),
    Baseline(
        "segvol",
        "text",
        "SegVol (Du et al. 2024, arXiv:2311.13385): points, boxes and words",
        "MIT (code), weights as their page says",
        refusal="there is no package: its code is a repository of scripts bound to CUDA "
        "(github.com/BAAI-DCAI/SegVol) and Python files inside its repository of weights, which would run as "
        "remote code. Tried: "
        "PyPI (nothing under its name), transformers and MONAI (no such network)",
    ),
    Baseline(
        "sat",
        "text",
        "SAT (Zhao et al. 2025, arXiv:2312.17183): words",
        "as its pages say",
        refusal="there is no package: its code is a repository of scripts (github.com/zhaoziheng/SAT) that "
        "brings a patched copy of dynamic_network_architectures, which would replace the one that nnU-Net's "
        "networks here need. Tried: PyPI (`sat` there is something else), transformers and MONAI (no such "
        "network)",
    ),
)

BASELINES = {baseline.name: baseline for baseline in _BASELINES}


def baseline(name: str) -> Baseline:
    """The system of that name.

    Raises:
        AnyPETError: there is none; the message lists those there are.
    """
    if name not in BASELINES:
        raise AnyPETError(f"no system is called {name!r}; known: {', '.join(BASELINES)}")
    return BASELINES[name]
