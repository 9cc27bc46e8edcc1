"""The settings of every training: typed records, saved with each run; unknown keys are refused.

Defaults are those of the embedded models, which were trained on processors. The values of Wang et al. (CVPR 2021) and
of its published configuration stand in the descriptions; docs/training.md has them as one file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from revisage.nets import CompactConfig, CompactFineConfig, channels_by_size
from revisage.train.degrade import MIXED, Degradation, find_preset
from revisage.train.images import FaceSource

__all__ = [
    "MAY_CHANGE",
    "CoverTrainConfig",
    "DetectorTrainConfig",
    "GFPGANConfig",
    "LyingTrainConfig",
    "NetConfig",
    "PriorTrainConfig",
    "ReaderTrainConfig",
    "RefineTrainConfig",
    "RestorerTrainConfig",
    "SampleConfig",
    "StageConfig",
    "net_config",
]


def _source(value: Any) -> Any:
    """A bare path stands for a source with nothing else said."""
    return {"path": value} if isinstance(value, (str, Path)) else value


def _sources(value: Any) -> Any:
    """A single source may stand for a list of one."""
    return [value] if isinstance(value, (str, Path, dict)) else value


Source = Annotated[FaceSource, BeforeValidator(_source)]


class GFPGANConfig(BaseModel):
    """GFP-GAN's clean architecture at any size and width. The releases are size 512, channel_multiplier 2, narrow 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["gfpgan-clean"] = "gfpgan-clean"
    size: int = Field(default=256, ge=64, le=1024, description="side of the square crop, px, a power of two")
    channel_multiplier: float = Field(default=1, gt=0, description="widens the scales above 32 px")
    narrow: float = Field(default=0.5, gt=0, le=2, description="factor of all widths")
    style_features: int = Field(default=512, ge=8, description="length of a latent")
    mapping_layers: int = Field(default=8, ge=1, description="layers of the prior's mapping network")
    different_w: bool = Field(default=True, description="a latent of its own for each layer of the decoder")
    sft_half: bool = Field(default=True, description="steer one half of the decoder's channels only")

    @model_validator(mode="after")
    def _check(self) -> GFPGANConfig:
        if self.size & (self.size - 1):
            raise ValueError(f"size must be a power of two, got {self.size}")
        whole = channels_by_size(self.channel_multiplier, self.narrow)
        half = channels_by_size(self.channel_multiplier, self.narrow * 0.5)
        if any(side <= self.size and (half[side] < 1 or whole[side] != 2 * half[side]) for side in whole):
            raise ValueError("channel_multiplier and narrow must leave an even number of channels at every scale")
        return self

    def settings(self) -> dict[str, Any]:
        """The same by the names of the published configurations, for ``revisage.nets.build``."""
        return {
            "out_size": self.size,
            "num_style_feat": self.style_features,
            "channel_multiplier": self.channel_multiplier,
            "num_mlp": self.mapping_layers,
            "different_w": self.different_w,
            "narrow": self.narrow,
            "sft_half": self.sft_half,
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> GFPGANConfig:
        """The inverse of ``settings``; what is not named has the value of the releases."""
        official = cls(size=512, channel_multiplier=2, narrow=1).settings()
        given = {**official, **settings}
        return cls(
            size=given["out_size"],
            style_features=given["num_style_feat"],
            channel_multiplier=given["channel_multiplier"],
            mapping_layers=given["num_mlp"],
            different_w=given["different_w"],
            narrow=given["narrow"],
            sft_half=given["sft_half"],
        )


_KINDS: dict[str, type[CompactConfig] | type[CompactFineConfig] | type[GFPGANConfig]] = {
    "compact": CompactConfig,
    "compact-gfpgan": CompactConfig,
    "compact-fine": CompactFineConfig,
    "gfpgan-clean": GFPGANConfig,
}


def net_config(value: Any) -> Any:
    """The record of the architecture that a name or a dict asks for; ``compact`` where a dict names none.

    Raises:
        ValueError: no architecture that is trained here has that name.
    """
    if isinstance(value, str):
        value = {"architecture": value}
    if not isinstance(value, dict):
        return value
    name = value.get("architecture", "compact")
    if name not in _KINDS:
        raise ValueError(f"unknown architecture '{name}': choose compact, compact-fine or gfpgan-clean")
    return _KINDS[name].model_validate({key: item for key, item in value.items() if key != "architecture"})


NetConfig = Annotated[CompactConfig | CompactFineConfig | GFPGANConfig, BeforeValidator(net_config)]


class StageConfig(BaseModel):
    """What all stages share: how long, how fast, on what, what is looked at and kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = Field(default=1, ge=0)
    steps: int = Field(default=10_000, ge=1)
    batch: int = Field(default=8, ge=1, description="images that go through the net at once, in each process")
    accumulate: int = Field(default=1, ge=1, description="batches whose gradients make one step")
    learning_rate: float = Field(default=1e-3, gt=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="auto: bf16 where the processor has it, fp16 with scaled gradients on older GPUs"
    )
    threads: int = Field(default=2, ge=1)
    workers: int = Field(default=1, ge=0, description="processes that make the batches")
    log_every: int = Field(default=50, ge=1)
    validate_every: int = Field(default=1000, ge=1, description="steps between looks at the averaged weights")
    checkpoint_every: int = Field(default=500, ge=1)
    tensorboard: bool = Field(default=False, description="write the log for TensorBoard too, into RUN/tensorboard")

    def rate_at(self, step: int) -> float:  # noqa: ARG002 - constant, where a stage has no schedule
        """The learning rate of a step."""
        return self.learning_rate


class FacesConfig(StageConfig):
    """What the stages that learn from aligned faces share."""

    data: Annotated[tuple[Source, ...], BeforeValidator(_sources)] = Field(
        min_length=1, description="folders of aligned faces, or CSV lists of them"
    )
    cache: Path | None = Field(
        default=None, description="folder for decoded images: made at the first start, mapped by later ones"
    )
    compile: bool = Field(default=False, description="torch.compile the net; worth a try on GPUs")


class SampleConfig(StageConfig):
    """What the stages share that learn from samples of one kind by AdamW: readers and detectors."""

    warm_up_steps: int = Field(ge=0)
    weight_decay: float = Field(default=0.02, ge=0)
    ema: float = Field(ge=0, lt=1, description="the average of the weights that is kept")

    def rate_at(self, step: int) -> float:
        """A linear warm-up, then half a cosine down to a hundredth."""
        return _warmed_cosine(self, step, self.warm_up_steps, last=0.01)


class DamagedFacesConfig(FacesConfig):
    """What the stages that learn from faces and their damaged copies share."""

    mixture: tuple[tuple[str, float], ...] = Field(default=MIXED, description="(degradation preset, share)")

    def degradations(self) -> list[tuple[Degradation, float]]:
        """The mixture with the presets looked up.

        Raises:
            ConfigError: an unknown one.
        """
        return [(find_preset(name), share) for name, share in self.mixture]


class RestorerTrainConfig(DamagedFacesConfig):
    """Stage (b), GFP-GAN, and stage (c), fine-tuning: one run."""

    vgg: Path | None = Field(
        default=None,
        description="safetensors of VGG19 up to relu3_1: the perceptual loss and the measure VGGD",
    )
    perceptual_vgg: Path | Literal["torchvision"] | None = Field(
        default=None, description="another backbone of the loss: a VGG19 of torchvision's, up to conv5_4"
    )
    validation: Source | None = Field(default=None, description="faces of the fixed check, at any size >= the net's")
    validation_images: int = Field(default=24, ge=1)
    validation_size: int = Field(default=512, ge=32, description="side at which the faces of the check are damaged, px")
    tone_probability: float = Field(
        default=0.25, ge=0, le=1, description="share of pairs with another exposure and gamma"
    )
    window: int | None = Field(
        default=None,
        ge=32,
        multiple_of=16,
        description="side of a random window of each face, cut before it is damaged, px; for nets that take any size",
    )
    zoom: tuple[float, float] = Field(
        default=(1.0, 1.0), description="least and most that half of the windows are enlarged by, with their targets"
    )
    net: NetConfig = Field(default_factory=CompactConfig)
    start: str | None = Field(default=None, description="weights to start from: a model's name, a file, or a run")
    prior: Path | None = Field(default=None, description="a StyleGAN2 prior for the decoder: a run of `train prior`")

    optimiser: Literal["adam", "muon"] = Field(
        default="adam", description="muon: orthogonalised steps for the convolutions between hidden layers, Adam else"
    )
    learning_rate: float = Field(default=8e-4, gt=0, description="paper: 2e-3")
    decoder_rate: float = Field(
        default=1.0,
        ge=0,
        description="factor of the rate for a gfpgan-clean's decoder; published: 0",
    )
    schedule: Literal["cosine", "halving"] = Field(
        default="cosine", description="halving, the paper's: constant, halved after 3/4 and 7/8 of the steps"
    )
    warm_up_steps: int = Field(default=400, ge=0)
    gradient_norm: float = Field(default=1.0, gt=0, description="gradients are scaled down to this norm")
    ema: float = Field(default=0.999, ge=0, lt=1, description="the average of the weights that is exported")

    pixel_loss: Literal["charbonnier", "l1"] = Field(default="charbonnier", description="paper: l1")
    pixel_weight: float = Field(default=1.0, ge=0, description="paper: 0.1")
    structure_weight: float = Field(default=0.0, ge=0, description="1 - SSIM")
    lattice_weight: float = Field(default=0.0, ge=0, description="against a lattice of rows that perception likes")
    pyramid_weight: float = Field(default=0.1, ge=0, description="paper: 1")
    pyramid_end: int | None = Field(default=None, ge=0, description="the step at which it stops; published: 50,000")
    perceptual_loss: Literal["normalised", "l1"] = Field(
        default="normalised", description="unit-normalised features, squared, as VGGD; or the paper's l1"
    )
    perceptual_weight: float = Field(default=0.1, ge=0, description="paper: 1")
    style_weight: float = Field(default=0.0, ge=0, description="Gram matrices of the same features; published: 50")
    perceptual_window: int = Field(
        default=64, ge=32, description="both look at a random window of this side, px; paper: the whole face"
    )
    adversary: Literal["features", "patch", "stylegan2"] = Field(
        default="patch",
        description="the perceptual loss's features of its window, by small heads (Projected GAN); patches of a window "
        "or the paper's StyleGAN2 judge of the whole face",
    )
    adversary_width: float = Field(default=0.5, gt=0, description="factor of a stylegan2 adversary's widths; paper: 1")
    adversarial_weight: float = Field(default=0.0, ge=0, description="0: no adversary; paper: 0.1")
    adversarial_start: int = Field(default=0, ge=0, description="the step at which the adversaries come in")
    adversarial_window: int = Field(
        default=128, ge=32, multiple_of=32, description="a patch adversary sees a random window, px"
    )
    adversarial_rate: float = Field(default=5e-4, gt=0, description="learning rate of the adversaries; paper: 2e-3")
    penalty_weight: float = Field(default=1.0, ge=0, description="R1, each 16th step; published: 10")
    component_weight: float = Field(default=0.0, ge=0, description="adversaries of both eyes and the mouth; paper: 1")
    component_style_weight: float = Field(default=0.0, ge=0, description="Gram matrices of their features; paper: 200")
    component_channels: tuple[int, int, int] = Field(default=(32, 64, 128), description="published: 64, 128, 256")
    identity_weight: float = Field(default=0.0, ge=0, description="paper: 10")
    identity: Path | None = Field(
        default=None, description="weights of ArcFace or MobileFaceNet: the loss and the measure `identity`"
    )

    best_by: tuple[Literal["medium", "paper", "clean"], str] = Field(
        default=("medium", "vggd"), description="the level and measure of the check that best.pt is chosen by"
    )

    @model_validator(mode="after")
    def _check(self) -> RestorerTrainConfig:
        if self.identity_weight > 0 and self.identity is None:
            raise ValueError("identity_weight needs the weights of a recogniser: set identity, or identity_weight=0")
        if self.component_style_weight > 0 and self.component_weight == 0:
            raise ValueError("component_style_weight needs component_weight: its features are those of the adversaries")
        if self.adversary == "features" and self.adversarial_weight > 0 and self.perceptual_vgg is not None:
            raise ValueError("adversary=features judges by the small backbone of vgg: leave perceptual_vgg out")
        if (
            self.adversary == "features"
            and self.adversarial_weight > 0
            and self.perceptual_weight + self.style_weight == 0
        ):
            raise ValueError("adversary=features judges what the perceptual loss sees: set perceptual_weight above 0")
        if self.window is not None and not isinstance(self.net, CompactFineConfig):
            raise ValueError("window is for nets that take any size: set net=compact-fine, or leave window out")
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"zoom: the range {self.zoom} ends before it begins, or is not above 0")
        return self

    def rate_at(self, step: int) -> float:
        """A linear warm-up, then half a cosine down to zero, or a constant that is halved twice."""
        if step < self.warm_up_steps or self.schedule == "cosine":
            return _warmed_cosine(self, step, self.warm_up_steps, last=0.0)
        return self.learning_rate * 0.5 ** ((4 * step >= 3 * self.steps) + (8 * step >= 7 * self.steps))

    @property
    def side(self) -> int:
        """Side of the images that go through the net, px."""
        return self.window or self.net.size


class PriorTrainConfig(FacesConfig):
    """Stage (a), the StyleGAN2 prior: one run. Defaults after Karras et al. (CVPR 2020)."""

    net: GFPGANConfig = Field(default_factory=GFPGANConfig, description="the GFP-GAN whose decoder this will be")
    adversary_width: float = Field(default=0.5, gt=0, description="factor of the discriminator's widths; paper: 1")
    learning_rate: float = Field(default=2e-3, gt=0, description="of both; the mapping network learns at a hundredth")
    penalty_weight: float = Field(default=10.0, ge=0, description="R1, each 16th step")
    workers: int = Field(default=0, ge=0, description="processes that make the batches; whole faces cost nothing")
    path_weight: float = Field(default=2.0, ge=0, description="path-length regularisation, each 4th step")
    mixing_probability: float = Field(default=0.9, ge=0, le=1, description="share of faces made of two styles")
    average_images: float = Field(
        default=10_000, gt=0, description="half-life of the averaged weights, in images; shorter at the start"
    )


_READ: tuple[tuple[str, float], ...] = (
    ("clean", 0.3),
    ("reduced", 0.28),
    ("shared", 0.15),
    ("compressed", 0.12),
    ("neutral", 0.05),
    ("gif", 0.05),
    ("webcam", 0.05),
)


class ReaderConfig(DamagedFacesConfig, SampleConfig):
    """What both stages of a face reader share."""

    mixture: tuple[tuple[str, float], ...] = Field(default=_READ, description="(degradation preset, share)")
    held_out: int = Field(default=160, ge=1, description="faces kept out of training, to look at")
    batch: int = Field(default=32, ge=1)


class ReaderTrainConfig(ReaderConfig):
    """A face reader, taught by other networks: one run."""

    teachers: Path = Field(description="folder with the teachers' weights: identity/, pose/, landmarks/, expression/")
    start: Path | None = Field(default=None, description="a reader's weights to begin with; without them, at random")
    blockwise_steps: int = Field(
        default=1500, ge=0, description="steps at the start in which each part of the trunk learns its teacher's alone"
    )
    imitation_steps: int = Field(
        default=1000, ge=0, description="steps after that in which the whole trunk learns to do as its teacher does"
    )
    hints: float = Field(default=2.0, ge=0, description="weight of the maps of identity's teacher, after that")
    side: int = Field(default=256, ge=144, description="side at which faces are decoded, and shown to the teachers, px")
    occluded: float = Field(default=0.35, ge=0, le=1, description="share of faces that something is drawn before")
    learning_rate: float = Field(default=1.5e-3, gt=0)
    warm_up_steps: int = Field(default=100, ge=0)
    ema: float = Field(default=0.998, ge=0, lt=1, description="the average of the weights that is kept")
    seed: int = Field(default=7, ge=0)


class CoverTrainConfig(ReaderConfig):
    """A face reader's third branch, which says where something is before a face: one run."""

    start: Path = Field(description="a reader's weights: nothing of them changes, the branch is put beside them")
    width: int = Field(default=24, ge=4, multiple_of=2, description="channels of the branch")
    surfaces: Path | None = Field(default=None, description="a folder of pictures that things take their texture from")
    side: int = Field(default=256, ge=144, description="side at which faces are decoded, px")
    occluded: float = Field(default=0.7, ge=0, le=1, description="share of faces that something is drawn before")
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warm_up_steps: int = Field(default=50, ge=0)
    ema: float = Field(default=0.995, ge=0, lt=1, description="the average of the weights that is kept")
    seed: int = Field(default=8, ge=0)


class SceneConfig(SampleConfig):
    """What both stages of a face detector share."""

    scenes: Path = Field(description="folder of scenes with labels.json")
    start: Path | None = Field(default=None, description="detector weights to begin with; without them, at random")
    held_out: int = Field(ge=1, description="scenes kept out of training, to choose the threshold by")
    steps: int = Field(default=20_000, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    threads: int = Field(default=1, ge=1)
    checkpoint_every: int = Field(default=1000, ge=1)


class DetectorTrainConfig(SceneConfig):
    """A face detector's first stage, which proposes faces: one run."""

    aligned: Path | None = Field(default=None, description="folder of FFHQ-aligned faces, to add large faces")
    aligned_pattern: str = Field(default="*", description="which files of that folder")
    held_out: int = Field(default=150, ge=1, description="scenes kept out of training, to choose the threshold by")
    size: int = Field(default=320, ge=64, multiple_of=64, description="side of the square training views, px")
    batch: int = Field(default=16, ge=1)
    warm_up_steps: int = Field(default=300, ge=0)
    ema: float = Field(default=0.9995, ge=0, lt=1, description="the average of the weights that is kept")
    seed: int = Field(default=3, ge=0)


class RefineTrainConfig(SceneConfig):
    """A face detector's second stage, which looks at each proposal closely: one run."""

    detector: Path = Field(description="weights of the first stage")
    portraits: Path | None = Field(default=None, description="folder of portraits with labels.json, for landmarks")
    likely: float | None = Field(
        default=None, gt=0, le=1, description="score from which uncertain faces are learned as faces"
    )
    coded: bool = Field(default=False, description="learn every scene once more as strongly compressed video shows it")
    held_out: int = Field(default=100, ge=1, description="scenes kept out of training, those the first stage kept out")
    views: int = Field(default=2, ge=0, description="random views of each scene to look for false alarms in")
    hands: int = Field(
        default=0,
        ge=0,
        description="pictures of drawn hands to look for false alarms in; some faces have a hand before them",
    )
    cut: bool = Field(default=False, description="the picture's border cuts a quarter of the faces, by a fifth or more")
    hard: bool = Field(
        default=False, description="draw false alarms the more often the surer the weights begun with are of them"
    )
    batch: int = Field(default=128, ge=1)
    optimiser: Literal["adam", "muon"] = Field(
        default="adam", description="muon: orthogonalised steps for the convolutions between hidden layers, Adam else"
    )
    warm_up_steps: int = Field(default=200, ge=0)
    ema: float = Field(default=0.999, ge=0, lt=1, description="the average of the weights that is kept")
    seed: int = Field(default=5, ge=0)

    @model_validator(mode="after")
    def _check(self) -> RefineTrainConfig:
        if self.hard and self.start is None:
            raise ValueError("hard asks the weights that a run begins with: set start, or hard=false")
        return self


class LyingTrainConfig(SceneConfig):
    """The branch of a face detector's first stage that finds faces which lie: one run."""

    start: Path = Field(description="a detector's weights: nothing of them changes, the branch is put beside them")
    width: int = Field(default=24, ge=4, description="channels of the branch")
    held_out: int = Field(default=100, ge=1, description="scenes kept out of training, those the detector kept out")
    steps: int = Field(default=800, ge=1)
    learning_rate: float = Field(default=4e-3, gt=0)
    size: int = Field(default=256, ge=64, multiple_of=64, description="side of the square training views, px")
    batch: int = Field(default=12, ge=1)
    warm_up_steps: int = Field(default=50, ge=0)
    ema: float = Field(default=0.995, ge=0, lt=1, description="the average of the weights that is kept")
    seed: int = Field(default=9, ge=0)


def _warmed_cosine(config: StageConfig, step: int, warm_up_steps: int, *, last: float) -> float:
    """Linearly up to the learning rate, then half a cosine down to that part of it."""
    if step < warm_up_steps:
        return config.learning_rate * (step + 1) / warm_up_steps
    part = min(1.0, (step - warm_up_steps) / max(1, config.steps - warm_up_steps))
    return config.learning_rate * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * part)))


MAY_CHANGE = frozenset(
    {
        *("steps", "learning_rate", "device", "precision", "compile", "threads", "workers", "tensorboard", "cache"),
        *("log_every", "checkpoint_every", "validate_every", "best_by"),
        *("pixel_weight", "structure_weight", "lattice_weight", "pyramid_weight", "pyramid_end"),
        *("perceptual_weight", "perceptual_window", "style_weight"),
        *("adversarial_weight", "adversarial_start", "adversarial_window", "adversarial_rate", "penalty_weight"),
        *("component_weight", "component_style_weight", "identity_weight", "identity", "path_weight"),
        *("blockwise_steps", "imitation_steps", "hints"),
    }
)
"""What may change when a run goes on: how long it is, how fast it learns, what it watches and the losses' weights."""
