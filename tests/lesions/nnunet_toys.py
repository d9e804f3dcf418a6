"""A trained nnU-Net folder as nnU-Net writes it, tiny and with random weights."""

import json

import numpy as np
import pytest
import torch

PATCH, SPACING = [32, 32, 32], [4.0, 3.0, 3.0]  # z, y, x
BASELINE_NAMES = ("CT", "PET", "FG", "BG")


def need_nnunet():
    return pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed: pip install 'anypet[nnunet]'")


def plans(channels):
    stages = 3
    network = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
        "arch_kwargs": {
            "n_stages": stages, "features_per_stage": [4, 8, 8], "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * stages, "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
            "n_blocks_per_stage": [1] * stages, "n_conv_per_stage_decoder": [1] * (stages - 1),
            "conv_bias": True, "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }  # fmt: skip
    resampling = {}
    for what, seg, order in (("data", False, 3), ("seg", True, 1), ("probabilities", False, 1)):
        resampling[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        resampling[f"resampling_fn_{what}_kwargs"] = {
            "is_seg": seg, "order": order, "order_z": 0, "force_separate_z": None
        }  # fmt: skip
    intensities = {"mean": 50.0, "std": 200.0, "percentile_00_5": -900.0, "percentile_99_5": 900.0}
    return {
        "dataset_name": "Dataset001_Toy", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
        "original_median_spacing_after_transp": SPACING, "original_median_shape_after_transp": [40, 40, 40],
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner", "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(n): intensities for n in range(len(channels))},
        "configurations": {
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres", "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2, "patch_size": PATCH, "median_image_size_in_voxels": [40, 40, 40],
                "spacing": SPACING, "use_mask_for_norm": [False] * len(channels), "batch_dice": True,
                "normalization_schemes": ["CTNormalization" if n == "CT" else "ZScoreNormalization"
                                          for n in channels],
                **resampling, "architecture": network,
            }
        },
    }  # fmt: skip


def network(content, channels, classes, seed):
    """The network of the plans through nnU-Net's own code, with a head that says something."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    config = PlansManager(content).get_configuration("3d_fullres")
    torch.manual_seed(seed)
    made = get_network_from_plans(
        config.network_arch_class_name, config.network_arch_init_kwargs,
        config.network_arch_init_kwargs_req_import, channels, classes, deep_supervision=True,
    )  # fmt: skip
    for layer in made.decoder.seg_layers:
        torch.nn.init.normal_(layer.weight, std=2.0)
    return made


def checkpoint(weights, trainer="nnUNetTrainer"):
    """What `nnUNetTrainer.save_checkpoint` saves beside the weights, NumPy numbers included."""
    momentum = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.01}]}
    return {
        "network_weights": weights,
        "optimizer_state": momentum,
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5)], "epoch_start_timestamps": [1.5]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1000,
        "init_args": {"plans": {}, "configuration": "3d_fullres", "fold": 0, "dataset_json": {},
                      "unpack_dataset": True, "device": torch.device("cuda")},
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }  # fmt: skip


def nnunet_folder(path, names=BASELINE_NAMES, labels=None, folds=1, trainer="nnUNetTrainer", extra=None):
    """A folder with `folds` folds; the labels are those of dataset.json, the network's classes as many."""
    labels = labels or {"background": 0, "tumor": 1}
    described = {
        "channel_names": {str(n): name for n, name in enumerate(names)}, "labels": labels,
        "numTraining": 3, "file_ending": ".nii.gz", **(extra or {}),
    }  # fmt: skip
    content = plans(names)
    path.mkdir(parents=True)
    (path / "dataset.json").write_text(json.dumps(described))
    (path / "plans.json").write_text(json.dumps(content))
    for fold in range(folds):
        (path / f"fold_{fold}").mkdir()
        weights = network(content, len(names), len(labels), fold).state_dict()
        torch.save(checkpoint(weights, trainer), path / f"fold_{fold}" / "checkpoint_final.pth")
    return path
