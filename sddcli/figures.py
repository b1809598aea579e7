"""Figures: those of the Sparse Double Descent paper by name, with the sweeps that make them at each scale. Words only.

Scales: `laptop` takes minutes on two cores (digits, or 2,000 images of MNIST), `standard` hours (MNIST whole, or 2,000
photographs of CIFAR-10), `paper` has the paper's own networks and data, for a GPU.
"""

import shlex
from collections.abc import Mapping
from typing import NamedTuple

SCALES = ("laptop", "standard", "paper")


class Sweep(NamedTuple):
    """What one `sdd sweep` is asked for: field -> text as on the command line, and the protocol for all else."""

    words: Mapping[str, str]
    protocol: str = "paper"

    def command(self) -> str:
        """The command that makes these runs."""
        flags = [text for name, value in self.words.items() for text in (f"--{name.replace('_', '-')}", value)]
        protocol = [] if self.protocol == "paper" else ["--protocol", self.protocol]
        return shlex.join(["sdd", "sweep", *flags, *protocol])


Sweeps = Mapping[str, tuple[Sweep, ...]]
"""Scale -> the sweeps that make a figure, or decide a claim, at that scale."""


class Figure(NamedTuple):
    """What a figure of the paper shows, in our words; its sweeps; the plot that draws it.

    analyses: those that have to look at the runs before it can be drawn, "interpolation" at pairs of runs. panels: the
    field whose values the paper shows in panels beside each other.
    """

    shows: str
    sweeps: Sweeps
    plot: str = "double-descent"
    analyses: tuple[str, ...] = ()
    panels: str = ""


def digits(**words: str) -> Sweep:
    """Handwritten digits, five seeds, 33 levels, with as much noise as so small a set needs unless `words` say more."""
    return Sweep({"dataset": "digits", "noise": "0.4", "level": "0-32", "seed": "0-4"} | words)


def small_mnist(**words: str) -> Sweep:
    """2,000 images of MNIST by the paper's protocol, at three quarters of its length."""
    usual = {"train_size": "2000", "noise": "0.2", "level": "0-25", "seed": "0-3", "epochs": "150", "eval_every": "25"}
    return Sweep({"dataset": "mnist", **usual} | words)


def mnist(**words: str) -> Sweep:
    """All of MNIST by the paper's protocol; evaluated every tenth epoch, which changes no weight."""
    return Sweep({"dataset": "mnist", "noise": "0.2", "eval_every": "10"} | words)


def photographs(dataset: str = "cifar10", **words: str) -> Sweep:
    """2,000 photographs and a small convnet with BatchNorm, four seeds."""
    usual = {"model": "convnet:width=8", "train_size": "2000", "noise": "0.2", "weight_decay": "0", "batch_size": "64"}
    length = {"epochs": "80", "eval_every": "80", "level": "0-23", "seed": "0-3"}
    return Sweep({"dataset": dataset, **usual, **length} | words, "quick")


def at_scales(data: str, noise: str, **words: str) -> Sweeps:
    """The paper's experiment on `data`, and its twins at the smaller scales, which have the same `words`.

    Twins of VGG-16 are convnets. Digits have 40 % noise where the paper has 20 or 40 %: there are few of them.
    """
    twin = {name: text for name, text in words.items() if name != "model"}
    convnet = {"model": "convnet:width=8"} if "model" in words else {}
    laptop = digits(**{"noise": "0.4" if noise == "0.2" else noise} | convnet | twin)
    standard = mnist(noise=noise, **words) if data == "mnist" else photographs(noise=noise, **twin)
    paper = standard if data == "mnist" else Sweep({"dataset": data, "noise": noise, **words})
    return {"laptop": (laptop,), "standard": (standard,), "paper": (paper,)}


def redense(data: str, noise: str, levels: Mapping[str, str], lr: str = "", beside: str = "") -> Sweeps:
    """Networks that got their pruned weights back, at a few levels, by scale.

    lr: rates other than the last one; beside: other retrainings to see them beside, as on the command line.
    """
    rates = [f"redense:lr={each}" for each in lr.split(",") if each]
    retraining = ",".join([*filter(None, [beside]), "redense", *rates])
    sweeps = at_scales(data, noise, retraining=retraining)
    return {scale: (each._replace(words={**each.words, "level": levels[scale]}),) for scale, (each,) in sweeps.items()}


def evaluated(sweeps: Sweeps) -> Sweeps:
    """The same, evaluated every fifth epoch where that was at the end alone: the same weights, of runs of other ids."""

    def often(sweep: Sweep) -> Sweep:
        end = "eval_every" in sweep.words and sweep.words["eval_every"] == sweep.words.get("epochs")
        return sweep._replace(words={**sweep.words, "eval_every": "5"}) if end else sweep

    return {scale: tuple(map(often, each)) for scale, each in sweeps.items()}


def returned(data: str, noise: str, levels: Mapping[str, str], lr: str = "") -> Sweeps:
    """`redense`, and the sparse networks of all levels, which come first: their phases, and their epochs."""
    sparse, after = at_scales(data, noise), redense(data, noise, levels, lr)
    return evaluated({scale: (*sparse[scale], *after[scale]) for scale in SCALES})


CRITERIA, RETRAININGS = "magnitude,gradient,random", "finetune,lr-rewind,scratch"
NOISES = "0.2,0.4,0.8"
FEW = {"laptop": "0,5,10,15,20,27,32", "standard": "0,3,6,9,12,16,19,22", "paper": "0,3,6,9,12,15,19,22,26"}
FEW_MNIST = {**FEW, "standard": "0,5,10,15,19,22,24,25", "paper": "0,5,10,15,19,22,24,25"}
HEADLINE = {
    "laptop": (digits(),),
    "standard": (mnist(), photographs()),
    "paper": (mnist(), *(Sweep({"dataset": name, "noise": "0.2"}) for name in ("cifar10", "cifar100"))),
}
DISTANCE = "learning-distance"
LINE = "interpolation", ("interpolation",)
SLICE = "flatness", ("flatness",)

FIGURES: dict[str, Figure] = {
    "figure-1": Figure("the headline: test and train accuracy against sparsity", HEADLINE, panels="dataset"),
    "figure-2": Figure(
        "three criteria, 40 % noise", at_scales("cifar100", "0.4", criterion=CRITERIA), panels="criterion"
    ),
    "figure-3": Figure(
        "three retrainings, 40 % noise", at_scales("cifar100", "0.4", retraining=RETRAININGS), panels="retraining"
    ),
    "figure-4": Figure("20, 40 and 80 % noise", at_scales("cifar10", NOISES), panels="noise"),
    "figure-5": Figure("the four phases on the curve", at_scales("mnist", "0.2")),
    "figure-6": Figure(
        "accuracy by epoch before and after pruned weights return", returned("cifar100", "0.4", FEW), "epochs"
    ),
    "figure-7": Figure("loss and accuracy from sparse to re-dense networks", redense("cifar100", "0.4", FEW), *LINE),
    "figure-8": Figure("loss around re-dense networks", redense("cifar100", "0.4", FEW), *SLICE),
    "figure-9": Figure("learning distance beside test accuracy", at_scales("mnist", "0.2"), DISTANCE),
    "figure-10": Figure(
        "tickets and new weights, same masks", at_scales("cifar10", "0.2", retraining="lottery,reinit")
    ),
    "figure-11": Figure(
        "best epoch instead of the last, three criteria",
        evaluated(at_scales("cifar100", "0.4", criterion=CRITERIA)),
        "best-epoch",
        panels="criterion",
    ),
    "figure-12": Figure("learning distance beside test accuracy", at_scales("cifar100", "0.2"), DISTANCE),
    "figure-13": Figure(
        "three criteria, 20 % noise", at_scales("mnist", "0.2", criterion=CRITERIA), panels="criterion"
    ),
    "figure-14": Figure(
        "three criteria, 40 % noise", at_scales("mnist", "0.4", criterion=CRITERIA), panels="criterion"
    ),
    "figure-15": Figure(
        "three retrainings, 20 % noise", at_scales("mnist", "0.2", retraining=RETRAININGS), panels="retraining"
    ),
    "figure-16": Figure(
        "three criteria, 20 % noise", at_scales("cifar10", "0.2", criterion=CRITERIA), panels="criterion"
    ),
    "figure-17": Figure(
        "three criteria, 40 % noise", at_scales("cifar10", "0.4", criterion=CRITERIA), panels="criterion"
    ),
    "figure-18": Figure(
        "three criteria, 80 % noise", at_scales("cifar10", "0.8", criterion=CRITERIA), panels="criterion"
    ),
    "figure-19": Figure(
        "three retrainings, 20 % noise", at_scales("cifar10", "0.2", retraining=RETRAININGS), panels="retraining"
    ),
    "figure-20": Figure(
        "three criteria, another convnet",
        at_scales("cifar10", "0.2", model="vgg16", criterion=CRITERIA),
        panels="criterion",
    ),
    "figure-21": Figure(
        "three criteria, labels moved to a similar class",
        at_scales("cifar10", "0.2", noise_kind="asymmetric", criterion=CRITERIA),
        panels="criterion",
    ),
    "figure-22": Figure(
        "three criteria, labels moved to the next class",
        at_scales("cifar10", "0.2", noise_kind="pairflip", criterion=CRITERIA),
        panels="criterion",
    ),
    "figure-23": Figure(
        "three criteria, 20 % noise", at_scales("cifar100", "0.2", criterion=CRITERIA), panels="criterion"
    ),
    "figure-24": Figure("as figure 2", at_scales("cifar100", "0.4", criterion=CRITERIA), panels="criterion"),
    "figure-25": Figure(
        "three criteria, 80 % noise", at_scales("cifar100", "0.8", criterion=CRITERIA), panels="criterion"
    ),
    "figure-26": Figure("as figure 3", at_scales("cifar100", "0.4", retraining=RETRAININGS), panels="retraining"),
    "figure-27": Figure(
        "three criteria, another convnet",
        at_scales("cifar100", "0.4", model="vgg16", criterion=CRITERIA),
        panels="criterion",
    ),
    "figure-28": Figure(
        "three criteria, labels moved to a similar class",
        at_scales("cifar100", "0.4", noise_kind="asymmetric", criterion=CRITERIA),
        panels="criterion",
    ),
    "figure-29": Figure(
        "three criteria, labels moved to the next class",
        at_scales("cifar100", "0.4", noise_kind="pairflip", criterion=CRITERIA),
        panels="criterion",
    ),
    "figure-30": Figure(
        "pruned at once, from the dense network",
        {
            "laptop": (digits(pruning="one-shot"),),
            "standard": (photographs(pruning="one-shot"),),
            "paper": (Sweep({"dataset": "tiny-imagenet:size=32", "noise": "0.2"}),),
        },
    ),
    "figure-31": Figure(
        "no label noise",
        {
            "laptop": (digits(noise="0"),),
            "standard": (photographs(noise="0"),),
            "paper": tuple(Sweep({"dataset": name, "noise": "0"}) for name in ("cifar10", "cifar100")),
        },
        panels="dataset",
    ),
    "figure-32": Figure("test error minus train error", HEADLINE, "generalization-gap", panels="dataset"),
    "figure-33": Figure(
        "tickets and new weights at three noises",
        at_scales("cifar10", NOISES, retraining="lottery,reinit"),
        panels="noise",
    ),
    "figure-34": Figure(
        "tickets and new weights at three noises",
        at_scales("cifar100", NOISES, retraining="lottery,reinit"),
        panels="noise",
    ),
    "figure-35": Figure("accuracy by epoch at four sparsities", at_scales("mnist", "0.2,0.4"), "epochs"),
    "figure-36": Figure("accuracy by epoch at four sparsities", evaluated(at_scales("cifar10", NOISES)), "epochs"),
    "figure-37": Figure("accuracy by epoch, re-dense at 0.1", returned("mnist", "0.2", FEW_MNIST, "0.1"), "epochs"),
    "figure-38": Figure("accuracy by epoch, re-dense", returned("cifar10", "0.2", FEW, "0.0001"), "epochs"),
    "figure-39": Figure("accuracy by epoch, re-dense", returned("cifar100", "0.4", FEW, "0.0001"), "epochs"),
    "figure-40": Figure("from sparse to re-dense networks", redense("mnist", "0.2", FEW_MNIST), *LINE),
    "figure-41": Figure("from sparse to re-dense networks", redense("cifar10", "0.2", FEW), *LINE),
    "figure-42": Figure("from sparse to re-dense networks", redense("cifar100", "0.4", FEW), *LINE),
    "figure-43": Figure("loss around re-dense networks", redense("cifar10", "0.2", FEW), *SLICE),
    "figure-44": Figure("learning distance at three noises", at_scales("mnist", NOISES), DISTANCE, panels="noise"),
    "figure-45": Figure(
        "learning distance, two retrainings",
        at_scales("mnist", "0.2", retraining="lr-rewind,scratch"),
        DISTANCE,
        panels="retraining",
    ),
    "figure-46": Figure("learning distance at three noises", at_scales("cifar10", NOISES), DISTANCE, panels="noise"),
    "figure-47": Figure(
        "learning distance, three retrainings",
        at_scales("cifar10", "0.2", retraining=RETRAININGS),
        DISTANCE,
        panels="retraining",
    ),
    "figure-48": Figure("learning distance at three noises", at_scales("cifar100", NOISES), DISTANCE, panels="noise"),
    "figure-49": Figure(
        "learning distance, three retrainings",
        at_scales("cifar100", "0.4", retraining=RETRAININGS),
        DISTANCE,
        panels="retraining",
    ),
}
