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


class Study(NamedTuple):
    """What one `sdd theory` is asked for: option -> text as on the command line. It trains nothing."""

    words: Mapping[str, str]

    def command(self) -> str:
        """The command that makes its table."""
        return shlex.join(
            ["sdd", "theory", *(text for name, value in self.words.items() for text in (f"--{name}", value))]
        )


Sweeps = Mapping[str, tuple[Sweep | Study, ...]]
"""Scale -> the sweeps, and studies, that make a figure or decide a claim at that scale."""


class Figure(NamedTuple):
    """What a figure of the paper shows, in our words; its sweeps; the plot that draws it.

    analyses: those that have to look at the runs before it can be drawn, "interpolation" at pairs of runs. panels: the
    field whose values the paper shows in panels beside each other. beside: how its twin on a laptop differs from what
    the paper shows, as seen by looking at both.
    """

    shows: str
    sweeps: Sweeps
    plot: str = "double-descent"
    analyses: tuple[str, ...] = ()
    panels: str = ""
    beside: str = ""


def digits(**words: str) -> Sweep:
    """Handwritten digits, five seeds, 33 levels, with as much noise as so small a set needs unless `words` say more."""
    return Sweep({"dataset": "digits", "noise": "0.4", "level": "0-32", "seed": "0-4"} | words)


WIDTHS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512)


def widths(*, of: tuple[int, ...] = WIDTHS, **words: str) -> Sweep:
    """Digits and dense networks of two hidden layers of each of these widths, five seeds."""
    return digits(**{"model": ",".join(f"lenet-{width}-{width}" for width in of), "level": "0"} | words)


def small_mnist(**words: str) -> Sweep:
    """2,000 images of MNIST by the paper's protocol, at three quarters of its length."""
    usual = {"train_size": "2000", "noise": "0.2", "level": "0-25", "seed": "0-3", "epochs": "150", "eval_every": "25"}
    return Sweep({"dataset": "mnist", **usual} | words)


def clean_mnist(**words: str) -> Sweep:
    """The same images without label noise, which 60 epochs fit; with drops of the learning rate, which fine-tuning and
    its rewinding differ by."""
    usual = {"noise": "0", "epochs": "60", "eval_every": "60", "milestones": "0.5/0.75"}
    return small_mnist(**usual | words)


def beside_mnist(sweeps: Sweeps, *small: Sweep) -> Sweeps:
    """The same sweeps, at the scale of a laptop with those of small MNIST too."""
    return {**sweeps, "laptop": (*sweeps["laptop"], *small)}


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

    def often(sweep: Sweep | Study) -> Sweep | Study:
        if isinstance(sweep, Study):
            return sweep
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
AT_THREE, OF_THREE = "learning distance at three noises", "learning distance, three retrainings"
LINE = "interpolation", ("interpolation",)
SLICE = "flatness", ("flatness",)


def criteria(data: str, noise: str, what: str = "", **words: str) -> Figure:
    """The three criteria of the paper, a panel each; what: said of them instead of how much noise there is."""
    shows = f"three criteria, {what or f'{100 * float(noise):g} % noise'}"
    return Figure(shows, at_scales(data, noise, criterion=CRITERIA, **words), panels="criterion")


def retrainings(data: str, noise: str) -> Figure:
    """The three retrainings that the paper sets beside rewinding, a panel each."""
    sweeps = at_scales(data, noise, retraining=RETRAININGS)
    return Figure(f"three retrainings, {100 * float(noise):g} % noise", sweeps, panels="retraining")


def distances(data: str, noise: str, what: str = "learning distance beside test accuracy", **words: str) -> Figure:
    """Learning distance and test accuracy, a panel for each value of what `words`, or the noises, say several of."""
    panels = "noise" if "," in noise else next(iter(words), "")
    return Figure(what, at_scales(data, noise, **words), DISTANCE, panels=panels)


def new_weights(data: str) -> Figure:
    """Tickets and new weights under the same masks, a panel for each of three noises."""
    sweeps = at_scales(data, NOISES, retraining="lottery,reinit")
    return Figure("tickets and new weights at three noises", sweeps, panels="noise")


def returns(data: str, noise: str, lr: str = "", at: str = "") -> Figure:
    """Accuracy by epoch of networks that get their pruned weights back at a learning rate `at`, or the last one."""
    few = FEW_MNIST if data == "mnist" else FEW
    return Figure(f"accuracy by epoch, re-dense{at}", returned(data, noise, few, lr), "epochs")


def lines(data: str, noise: str) -> Figure:
    """Loss and accuracy on the straight line from sparse to re-dense networks."""
    few = FEW_MNIST if data == "mnist" else FEW
    return Figure("from sparse to re-dense networks", redense(data, noise, few), *LINE)


BESIDE = {
    "1 5": (
        "The same three turns; train accuracy leaves 100 % where test accuracy is lowest, as in the paper. The peak "
        "is 12 points above the dense network; on CIFAR-10 the paper's is 4 above."
    ),
    "2 13 14 16 17 23 24": (
        "Magnitude pruning falls and rises, random pruning only rises and falls, where the paper's does both. Random "
        "pruning has its peak first, as in the paper; those of gradient and magnitude are close together."
    ),
    "18 25": (
        "Magnitude pruning falls and rises, random pruning only rises and falls, where the paper's does both. At "
        "this much noise the dip of gradient pruning is too small to tell from chance."
    ),
    "21 22 28 29": (
        "The dip is shallow, 3 to 5 points, and with five seeds only that of magnitude pruning can be told from "
        "chance, where the paper's three criteria show it. Claim C6a has ten seeds."
    ),
    "3 15 19 26": (
        "Fine-tuning and learning-rate rewinding fall and rise as in the paper; training from scratch only rises "
        "and falls, with ten seeds too (claim C5a). Rewinding the learning rate never gets back to the dense "
        "network."
    ),
    "4": (
        "More noise moves the valley to lower sparsity, as in the paper. That the peak moves to higher sparsity takes "
        "ten seeds to see (claim C3)."
    ),
    "6 38 39": (
        "At small learning rates nothing is unlearned: networks of the valley stay where they are, and sparser ones "
        "get better when their weights return, where the paper's overfit. At 0.1 they do so here as well: figure "
        "37."
    ),
    "37": (
        "As in the paper: given their weights back at a high learning rate, the best networks learn the wrong "
        "labels and lose 14 points of test accuracy. Those of the valley first lose what they had learned."
    ),
    "7 40 41 42": (
        "Train loss only falls on the way to the re-dense network, as in the paper. Test accuracy of the sparsest "
        "rises with it: they were too sparse, and do not overfit at this small a rate."
    ),
    "8 43": (
        "Networks from around the valley return to the sharpest minima, and those from beyond to ever flatter ones; "
        "in the paper minima get sharper the sparser the network was."
    ),
    "9 44": (
        "The largest learning distance is where accuracy is lowest, as in the paper. Its first fall, while few "
        "weights are gone, the paper does not have."
    ),
    "12 46 48": ("The twin has no BatchNorm: it shows the distinct peak of distance that the paper's ResNets lack."),
    "10 33 34": (
        "New weights move the curve to lower sparsity and win where tickets are in their valley, as in the paper. "
        "They have no dip of their own, where the paper's have one."
    ),
    "11": (
        "At the best epoch there is no valley where the last epoch has one, as in the paper; the small dip of the "
        "best epoch lies before that, in the light phase, where the paper's lies in the critical one."
    ),
    "30": (
        "The curve falls and rises as in the paper, but five seeds leave open whether by chance: its dip of 5 "
        "points has p = 0.07."
    ),
    "31": ("No double descent without label noise, as in the paper."),
    "32": (
        "The gap is widest in the valley and falls from there, as in the paper. It ends below zero: train error "
        "counts wrong labels, which sparse networks do not learn."
    ),
    "35 36": (
        "All have settled after the learning rate dropped, as in the paper. Before, the dense network passes "
        "through better accuracies than it ends with."
    ),
    "45 47 49": (
        "With learning-rate rewinding the distance is largest a level behind the valley; fine-tuning hardly changes "
        "the distance, and from scratch it falls from the first level on, so that no turn of accuracy shows in it."
    ),
    "20 27": (
        "The twin is a small convnet with BatchNorm instead of VGG-16. All three rise and fall; the dip before is "
        "shallow, and with five seeds only that of magnitude pruning can be told from chance, where the paper's three "
        "criteria show it."
    ),
}
"""Figures that are one picture on a laptop -> how it differs from what the paper shows, as seen by looking at both."""

FIGURES: dict[str, Figure] = {
    "figure-1": Figure("the headline: test and train accuracy against sparsity", HEADLINE, panels="dataset"),
    "figure-2": criteria("cifar100", "0.4"),
    "figure-3": retrainings("cifar100", "0.4"),
    "figure-4": Figure("20, 40 and 80 % noise", at_scales("cifar10", NOISES), panels="noise"),
    "figure-5": Figure("the four phases on the curve", at_scales("mnist", "0.2")),
    "figure-6": Figure(
        "accuracy by epoch before and after pruned weights return", returned("cifar100", "0.4", FEW), "epochs"
    ),
    "figure-7": lines("cifar100", "0.4")._replace(shows="loss and accuracy from sparse to re-dense networks"),
    "figure-8": Figure("loss around re-dense networks", redense("cifar100", "0.4", FEW), *SLICE),
    "figure-9": distances("mnist", "0.2"),
    "figure-10": Figure(
        "tickets and new weights, same masks", at_scales("cifar10", "0.2", retraining="lottery,reinit")
    ),
    "figure-11": Figure(
        "best epoch instead of the last, three criteria",
        evaluated(at_scales("cifar100", "0.4", criterion=CRITERIA)),
        "best-epoch",
        panels="criterion",
    ),
    "figure-12": distances("cifar100", "0.2"),
    "figure-13": criteria("mnist", "0.2"),
    "figure-14": criteria("mnist", "0.4"),
    "figure-15": retrainings("mnist", "0.2"),
    "figure-16": criteria("cifar10", "0.2"),
    "figure-17": criteria("cifar10", "0.4"),
    "figure-18": criteria("cifar10", "0.8"),
    "figure-19": retrainings("cifar10", "0.2"),
    "figure-20": criteria("cifar10", "0.2", "another convnet", model="vgg16"),
    "figure-21": criteria("cifar10", "0.2", "labels moved to a similar class", noise_kind="asymmetric"),
    "figure-22": criteria("cifar10", "0.2", "labels moved to the next class", noise_kind="pairflip"),
    "figure-23": criteria("cifar100", "0.2"),
    "figure-24": criteria("cifar100", "0.4")._replace(shows="as figure 2"),
    "figure-25": criteria("cifar100", "0.8"),
    "figure-26": retrainings("cifar100", "0.4")._replace(shows="as figure 3"),
    "figure-27": criteria("cifar100", "0.4", "another convnet", model="vgg16"),
    "figure-28": criteria("cifar100", "0.4", "labels moved to a similar class", noise_kind="asymmetric"),
    "figure-29": criteria("cifar100", "0.4", "labels moved to the next class", noise_kind="pairflip"),
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
    "figure-33": new_weights("cifar10"),
    "figure-34": new_weights("cifar100"),
    "figure-35": Figure("accuracy by epoch at four sparsities", at_scales("mnist", "0.2,0.4"), "epochs"),
    "figure-36": Figure("accuracy by epoch at four sparsities", evaluated(at_scales("cifar10", NOISES)), "epochs"),
    "figure-37": returns("mnist", "0.2", "0.1", at=" at 0.1"),
    "figure-38": returns("cifar10", "0.2", "0.0001"),
    "figure-39": returns("cifar100", "0.4", "0.0001"),
    "figure-40": lines("mnist", "0.2"),
    "figure-41": lines("cifar10", "0.2"),
    "figure-42": lines("cifar100", "0.4"),
    "figure-43": Figure("loss around re-dense networks", redense("cifar10", "0.2", FEW), *SLICE),
    "figure-44": distances("mnist", NOISES, AT_THREE),
    "figure-45": distances("mnist", "0.2", "learning distance, two retrainings", retraining="lr-rewind,scratch"),
    "figure-46": distances("cifar10", NOISES, AT_THREE),
    "figure-47": distances("cifar10", "0.2", OF_THREE, retraining=RETRAININGS),
    "figure-48": distances("cifar100", NOISES, AT_THREE),
    "figure-49": distances("cifar100", "0.4", OF_THREE, retraining=RETRAININGS),
}
FIGURES |= {
    name: FIGURES[name]._replace(beside=text)
    for numbers, text in BESIDE.items()
    for name in map("figure-{}".format, numbers.split())
}
