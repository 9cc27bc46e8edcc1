"""The models that revisage knows by name: where each comes from, its hash, its architecture and its licence."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from revisage.core import EMBEDDED_RESTORERS, ModelError

__all__ = ["DEFAULT", "ModelEntry", "Registry", "entries", "find", "find_usable"]

_GFPGAN = "https://github.com/TencentARC/GFPGAN/releases/download"
_FACEXLIB = "https://github.com/xinntao/facexlib/releases/download"
_REALESRGAN = "https://github.com/xinntao/Real-ESRGAN/releases/download"
_TORCHVISION = "https://download.pytorch.org/models"
"""As torchvision 0.27 lists them in models/optical_flow/raft.py. A file's name ends in the first eight digits of its
SHA-256; the whole of it is not published."""
_GFPGAN_ONNX = "https://github.com/clibdev/GFPGAN-onnxruntime-demo/releases/latest/download"
"""Made by somebody else of weights whose hashes, stated on the same page, are the official ones."""
_FFHQ_LICENCE = "Apache-2.0; trained on FFHQ (CC BY-NC-SA 4.0)"
_ONNX_LICENCE = f"{_FFHQ_LICENCE}; converted by a third party"
_RAFT_LICENCE = "of torchvision (BSD-3-Clause); trained on FlyingChairs and FlyingThings3D, large on Sintel too"
_OWN_LICENCE = "Apache-2.0; see the model card beside the weights for the licence of the training data"


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model file.

    Attributes:
        name: what the user types.
        url: where `revisage.models.pull` fetches it; None for embedded weights.
        file: file name in the model folder; ``*``: the address's last part.
        sha256: of the whole file in lower-case hex; None where the publisher's is not known here.
        bytes: size of the file; None where not known here.
        arch: architecture name for `revisage.nets.build`; ``gfpgan-onnx`` is run by OpenVINO as it is, ``yunet`` and
            ``mobilefacenet-onnx`` by OpenCV, RAFT by torchvision.
        params_key: entry of the checkpoint that holds the state dict; None when the file is the state dict itself.
        licence: of the weights, and of the data they were trained on where that binds the user.
        embedded: whether the file ships inside the package.
        base: name of the embedded model that this one ships as a difference from; ``sha256`` is then that of what the
            two make together.
        without_torch: name of the entry that takes its place where torch is not installed; None without any.

    Raises:
        ValueError: a file name with a folder in it, a malformed hash, or an entry without any source.
    """

    name: str
    arch: str
    licence: str
    url: str | None = None
    file: str = "*"
    sha256: str | None = None
    bytes: int | None = None
    params_key: str | None = None
    embedded: bool = False
    base: str | None = None
    without_torch: str | None = None

    def __post_init__(self) -> None:
        if self.file == "*":
            object.__setattr__(self, "file", (self.url or "").rpartition("/")[2])
        if not self.name or self.name != self.name.strip().lower():
            raise ValueError(f"a model name is lower case without blanks around it, got {self.name!r}")
        if not self.file or set(self.file) & set('/\\:*?"<>|') or self.file.startswith("."):
            raise ValueError(f"model {self.name}: {self.file!r} is not a plain file name")
        if self.sha256 is not None and (len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef")):
            raise ValueError(f"model {self.name}: a sha256 is 64 lower-case hex digits, got {self.sha256!r}")
        if self.url is None and not self.embedded:
            raise ValueError(f"model {self.name} is neither embedded nor has it an address")


class Registry:
    """A set of model entries with unique names; pass your own where the package's is the default.

    Raises:
        ValueError: two entries share a name or a file.
    """

    def __init__(self, entries: Iterable[ModelEntry] = ()) -> None:
        self._entries: dict[str, ModelEntry] = {}
        self.add(*entries)

    def add(self, *entries: ModelEntry) -> None:
        """Take in all of the entries, or none.

        Raises:
            ValueError: a name or file is already there.
        """
        merged = dict(self._entries)
        for entry in entries:
            if entry.name in merged:
                raise ValueError(f"there is a model named {entry.name!r} already")
            if any(entry.file.lower() == other.file.lower() for other in merged.values()):
                raise ValueError(f"there is a model with the file {entry.file!r} already")
            merged[entry.name] = entry
        self._entries = merged

    def entries(self) -> list[ModelEntry]:
        """All entries, in the order they were added."""
        return list(self._entries.values())

    def find(self, name: str) -> ModelEntry:
        """The entry of that name, in any case.

        Raises:
            ModelError: there is none; the nearest match is named, and all are listed.
        """
        entry = self._entries.get(name.strip().lower())
        if entry is not None:
            return entry
        near = difflib.get_close_matches(name.strip().lower(), self._entries, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        there = ", ".join(self._entries) or "none"
        raise ModelError(f"unknown model {name!r}{hint} (there are: {there}; or give the path of a weights file)")


DEFAULT = Registry(
    [
        ModelEntry(
            name=EMBEDDED_RESTORERS["faithful"],
            file="compact.safetensors",
            arch="compact",
            licence=_OWN_LICENCE,
            embedded=True,
        ),
        ModelEntry(
            name=EMBEDDED_RESTORERS["natural"],
            file="compact-natural.npz",
            sha256="a39440d9a59c52ac4d5a803a6605b652b10f91139b60bd9592f9be6a6ba6bb04",
            arch="compact",
            licence=_OWN_LICENCE,
            embedded=True,
            base=EMBEDDED_RESTORERS["faithful"],
        ),
        ModelEntry(
            name="compact-detector",
            file="compact-detector.safetensors",
            arch="compact-detector",
            licence=_OWN_LICENCE,
            embedded=True,
        ),
        ModelEntry(
            name="compact-fine",
            file="compact-fine.safetensors",
            arch="compact-fine",
            licence=_OWN_LICENCE,
            embedded=True,
        ),
        ModelEntry(
            name="compact-reader",
            file="compact-reader.safetensors",
            arch="compact-reader",
            licence=_OWN_LICENCE,
            embedded=True,
        ),
        ModelEntry(
            name="gfpgan-1",
            url=f"{_GFPGAN}/v0.1.0/GFPGANv1.pth",
            arch="gfpgan_v1_512",
            params_key="params_ema",
            licence="Apache-2.0 with NVIDIA non-commercial StyleGAN2 parts",
        ),
        ModelEntry(
            name="gfpgan-1.2",
            url=f"{_GFPGAN}/v0.2.0/GFPGANCleanv1-NoCE-C2.pth",
            arch="gfpgan_clean_512",
            params_key="params_ema",
            licence=_FFHQ_LICENCE,
            without_torch="gfpgan-1.2-onnx",
        ),
        ModelEntry(
            name="gfpgan-1.3",
            url=f"{_GFPGAN}/v1.3.0/GFPGANv1.3.pth",
            sha256="c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
            arch="gfpgan_clean_512",
            params_key="params_ema",
            licence=_FFHQ_LICENCE,
            without_torch="gfpgan-1.3-onnx",
        ),
        ModelEntry(
            name="gfpgan-1.4",
            url=f"{_GFPGAN}/v1.3.0/GFPGANv1.4.pth",
            sha256="e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad",
            bytes=348632874,
            arch="gfpgan_clean_512",
            params_key="params_ema",
            licence=_FFHQ_LICENCE,
            without_torch="gfpgan-1.4-onnx",
        ),
        ModelEntry(
            name="gfpgan-1.2-onnx",
            url=f"{_GFPGAN_ONNX}/gfpgan-v1.2.onnx",
            sha256="d1e718d437b6d53f9ec3216a4ad468a74caf98187217dc9f40eab45f42d0ed14",
            arch="gfpgan-onnx",
            licence=_ONNX_LICENCE,
        ),
        ModelEntry(
            name="gfpgan-1.3-onnx",
            url=f"{_GFPGAN_ONNX}/gfpgan-v1.3.onnx",
            sha256="c01d3411d2c202d95f1ac5f7d09f99567de39a06577e4e66173ecefb3f242f5a",
            arch="gfpgan-onnx",
            licence=_ONNX_LICENCE,
        ),
        ModelEntry(
            name="gfpgan-1.4-onnx",
            url=f"{_GFPGAN_ONNX}/gfpgan-v1.4.onnx",
            sha256="497ff5b6d6008ec101b2714776ce39ce67a722a78720dfce84231e612e45053e",
            arch="gfpgan-onnx",
            licence=_ONNX_LICENCE,
        ),
        ModelEntry(
            name="restoreformer",
            url=f"{_GFPGAN}/v1.3.4/RestoreFormer.pth",
            arch="restoreformer_512",
            params_key="params",
            licence="Apache-2.0; trained on FFHQ",
        ),
        ModelEntry(
            name="codeformer",
            url="https://github.com/sczhou/CodeFormer/releases/download/v0.1.0/codeformer.pth",
            sha256="1009e537e0c2a07d4cabce6355f53cb66767cd4b4297ec7a4a64ca4b8a5684b7",
            bytes=376637898,
            arch="codeformer_512",
            params_key="params_ema",
            licence="S-Lab License 1.0 (non-commercial); trained on FFHQ",
        ),
        ModelEntry(
            name="retinaface-r50",
            url=f"{_FACEXLIB}/v0.1.0/detection_Resnet50_Final.pth",
            sha256="6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
            bytes=109497761,
            arch="retinaface_resnet50",
            licence="MIT",
        ),
        ModelEntry(
            name="retinaface-mobile",
            url=f"{_FACEXLIB}/v0.1.0/detection_mobilenet0.25_Final.pth",
            arch="retinaface_mobile0_25",
            licence="MIT",
        ),
        ModelEntry(
            name="arcface-r18",
            url=f"{_GFPGAN}/v0.1.0/arcface_resnet18.pth",
            arch="arcface_resnet18",
            licence="as GFPGAN",
        ),
        ModelEntry(
            name="mobilefacenet",
            file="mobilefacenet.onnx",
            url="https://github.com/foamliu/MobileFaceNet/raw/master/weights/MobileFaceNet.onnx",
            sha256="b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507",
            bytes=3998070,
            arch="mobilefacenet-onnx",
            licence="Apache-2.0; trained on MS-Celeb-1M (research)",
        ),
        ModelEntry(
            name="alexnet",
            url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            bytes=244408911,
            arch="alexnet_features",
            licence="BSD-3-Clause (torchvision); trained on ImageNet (research)",
        ),
        ModelEntry(
            name="lpips-alex",
            file="lpips_v0.1_alex.pth",
            url="https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/alex.pth",
            sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
            bytes=6009,
            arch="lpips_heads",
            licence="BSD-2-Clause",
        ),
        ModelEntry(
            name="realesrgan-x2",
            url=f"{_REALESRGAN}/v0.2.1/RealESRGAN_x2plus.pth",
            arch="rrdbnet_x2",
            params_key="params_ema",
            licence="BSD-3-Clause",
        ),
        ModelEntry(
            name="realesrgan-x4",
            url=f"{_REALESRGAN}/v0.1.0/RealESRGAN_x4plus.pth",
            sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
            arch="rrdbnet_x4",
            params_key="params_ema",
            licence="BSD-3-Clause",
        ),
        ModelEntry(
            name="realesr-general-x4",
            url=f"{_REALESRGAN}/v0.2.5.0/realesr-general-x4v3.pth",
            sha256="8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
            arch="srvgg_x4",
            params_key="params",
            licence="BSD-3-Clause",
        ),
        ModelEntry(
            name="stylegan2-ffhq-512",
            url=f"{_GFPGAN}/v0.1.0/StyleGAN2_512_Cmul1_FFHQ_B12G4_scratch_800k.pth",
            arch="stylegan2_512",
            params_key="params_ema",
            licence="NVIDIA non-commercial lineage",
        ),
        ModelEntry(
            name="raft-small",
            url=f"{_TORCHVISION}/raft_small_C_T_V2-01064c6d.pth",
            arch="raft_small",
            licence=_RAFT_LICENCE,
        ),
        ModelEntry(
            name="raft-large",
            url=f"{_TORCHVISION}/raft_large_C_T_SKHT_V2-ff5fadd5.pth",
            arch="raft_large",
            licence=_RAFT_LICENCE,
        ),
        ModelEntry(
            name="yunet",
            url="https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
            sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
            bytes=232589,
            arch="yunet",
            licence="MIT",
        ),
    ]
)


def entries() -> list[ModelEntry]:
    """All models of the package's own registry."""
    return DEFAULT.entries()


def find(name: str) -> ModelEntry:
    """The model of that name in the package's own registry.

    Raises:
        ModelError: there is none.
    """
    return DEFAULT.find(name)


def find_usable(name: str) -> ModelEntry:
    """The model of that name in the form that this installation can run: that for OpenVINO where torch is missing.

    Raises:
        ModelError: there is none.
    """
    entry = find(name)
    if entry.without_torch is None or importlib.util.find_spec("torch") is not None:
        return entry
    return find(entry.without_torch)
