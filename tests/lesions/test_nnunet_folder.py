"""What a trained folder says, and what is refused; needs no nnunetv2."""

import json
import os

import pytest
import torch
from nnunet_toys import checkpoint

from anypet.errors import AnyPETError, WeightsError
from anypet.lesions.nnunet.folder import read_folder


def folder(path, labels=None, names=("CT", "PET"), classes=2, checkpoints=("fold_0/checkpoint_final.pth",)):
    """A folder whose network has one layer."""
    described = {"channel_names": dict(enumerate(names)), "labels": labels or {"background": 0, "tumor": 1}}
    path.mkdir()
    (path / "dataset.json").write_text(json.dumps(described))
    (path / "plans.json").write_text("{}")
    for n, name in enumerate(checkpoints):
        (path / name).parent.mkdir(exist_ok=True)
        weights = {"decoder.seg_layers.0.weight": torch.full((classes, 4, 1, 1, 1), float(n))}
        torch.save(checkpoint(weights), path / name)
    return path


def value(fold):
    return float(fold["decoder.seg_layers.0.weight"].mean())


def test_folds_in_order_and_fold_all_only_when_alone(tmp_path):
    names = [f"{fold}/checkpoint_final.pth" for fold in ("fold_1", "fold_0", "fold_all")]
    found = read_folder(folder(tmp_path / "a", checkpoints=names))
    assert [value(fold) for fold in found.folds] == [1, 0]
    assert (found.configuration, found.mirror_axes, found.lesion) == ("3d_fullres", (0, 1, 2), (1,))
    assert len(read_folder(folder(tmp_path / "b", checkpoints=names[2:])).folds) == 1


def test_best_checkpoints_serve_where_no_final_is_there(tmp_path, caplog):
    assert read_folder(folder(tmp_path / "a", checkpoints=["fold_0/checkpoint_best.pth"])).folds
    assert "checkpoint_best.pth is used" in caplog.text


def test_other_labels_are_organs(tmp_path):
    labels = {"background": 0, "liver": 1, "Lesions": 2, "ignore": 3}
    found = read_folder(folder(tmp_path / "a", labels, classes=3))
    assert (found.lesion, found.organs) == ((2,), {1: "liver"})


def test_labels_of_a_head_that_only_training_used_are_left_out(tmp_path):
    """QuantIF's: organs among the labels, a network of two classes, and a second head in its checkpoint."""
    path = folder(tmp_path / "a", {"background": 0, "lesion": 1, "brain": 2, "liver": 3})
    file = path / "fold_0" / "checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    content["network_weights"]["decoder.organ_seg_layers.0.weight"] = torch.ones(15, 4, 1, 1, 1)
    content["network_weights"] = {f"module.{k}": v for k, v in content["network_weights"].items()}
    torch.save(content, file)
    found = read_folder(path)
    assert found.dataset["labels"] == {"background": 0, "lesion": 1}
    assert list(found.folds[0]) == ["decoder.seg_layers.0.weight"]


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_named_and_not_run(tmp_path):
    path, sprung = folder(tmp_path / "a"), tmp_path / "sprung"
    content = checkpoint({"decoder.seg_layers.0.weight": torch.zeros(2, 4, 1, 1, 1)})
    torch.save({**content, "logging": Trap(sprung)}, path / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(WeightsError, match="mkdir"):
        read_folder(path)
    assert not sprung.exists()


@pytest.mark.parametrize("missing", ["network_weights", "init_args"])
def test_another_checkpoint(tmp_path, missing):
    path = folder(tmp_path / "a")
    content = checkpoint({"decoder.seg_layers.0.weight": torch.zeros(2, 4, 1, 1, 1)})
    del content[missing]
    torch.save(content, path / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(WeightsError, match=missing):
        read_folder(path)


def test_weights_that_are_no_tensors(tmp_path):
    path = folder(tmp_path / "a")
    torch.save(checkpoint({"a": 1.0}), path / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(WeightsError, match="something else than tensors"):
        read_folder(path)


def test_folds_of_two_configurations(tmp_path):
    path = folder(tmp_path / "a", checkpoints=["fold_0/checkpoint_final.pth", "fold_1/checkpoint_final.pth"])
    content = checkpoint({"decoder.seg_layers.0.weight": torch.zeros(2, 4, 1, 1, 1)})
    content["init_args"]["configuration"] = "2d"
    torch.save(content, path / "fold_1" / "checkpoint_final.pth")
    with pytest.raises(AnyPETError, match="'2d', the first fold of '3d_fullres'"):
        read_folder(path)


@pytest.mark.parametrize(
    ("labels", "classes", "fault"),
    [
        ({"background": 0, "liver": 1, "spleen": 2}, 3, "none of the labels"),
        ({"background": 0, "lesion": [1, 2]}, 2, "overlapping regions"),
        ({"background": 0, "lesion": 1}, 3, "do not belong together"),
    ],
)
def test_labels_that_do_not_serve(tmp_path, labels, classes, fault):
    with pytest.raises(AnyPETError, match=fault):
        read_folder(folder(tmp_path / "a", labels, classes=classes))


def test_a_lone_label_is_the_lesion(tmp_path):
    assert read_folder(folder(tmp_path / "a", {"background": 0, "gtv": 1})).lesion == (1,)


def test_what_is_not_there_is_named(tmp_path):
    folder(tmp_path / "inner")
    with pytest.raises(AnyPETError, match=r"dataset\.json.*did you mean .*inner"):
        read_folder(tmp_path)
    with pytest.raises(AnyPETError, match="no trained nnU-Net folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(AnyPETError, match="checkpoint_final"):
        read_folder(folder(tmp_path / "empty", checkpoints=()))
