"""Layout: which files of a folder of images are trained on, which are tested on, and why the others are neither.

PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, and other layouts that can be meant in one way only. Images, labels
and their order are those of torchvision's ImageFolder on train and on test, images deeper within the folder of a class
included; but hidden files and folders of the system are no data, and a folder without images is no class.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sddcli.core.seeds import stream
from sddcli.core.words import UsageError
from sddcli.datasets.reading.pictures import ENDINGS, written

ROLES = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "val"
)
"""The name of a folder, in small letters -> its role. Of test and val, the first whose labels are known is used."""
SYSTEM = ("__MACOSX", "__pycache__", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information")
"""Folders that systems make beside those of the user, as are all whose names begin with a dot."""
OTHER_IMAGES = (".gif", ".jfif", ".avif", ".heic", ".heif", ".jp2", ".tga", ".svg", ".dcm", ".npy")
"""Endings of images that are not read: a folder of them was meant to be a class."""
ANNOTATIONS = "val_annotations.txt"
"""The list of labels that Tiny ImageNet has beside the images it tests on."""
SHOWN = 5

Parts = tuple[str, ...]
"""A path within the folder, name by name."""
Split = list[tuple[Path, int]]
"""Images and their labels."""


class Held(NamedTuple):
    """What is held out of the training images to test on: a share of each class, drawn by a seed; of share 0 none."""

    share: float = 0.0
    seed: int = 0


class Layout(NamedTuple):
    """splits: the images of "train" and "test" and their labels, class by class; classes: their names, by label.

    unused: why files are in neither -> how many. root: the folder that was looked through. tests: words on where the
    images to test on come from, "" where that is the folder "test". remarks: sentences that the user should read.
    """

    splits: dict[str, Split]
    classes: list[str]
    unused: Mapping[str, int]
    root: Path
    tests: str
    remarks: tuple[str, ...]


class Tree(NamedTuple):
    """All that lies in a folder: its images and other files, told apart by their endings, and folders.

    hidden: how many more files are hidden or the system's.
    """

    images: list[Parts]
    others: list[Parts]
    folders: list[Parts]
    hidden: int


def layout(path: str, held: Held) -> Layout:
    """Which images of the folder `path` are trained on, and which are tested on.

    Raises OSError where that is not clear, where images or labels are missing or a folder cannot be read, saying what
    was seen and what could be written; UsageError for a share to hold out that is not above 0 and below 1,
    or a seed below 0 or from 2^63 on.
    """
    if held != Held() and not 0 < held.share < 1:
        raise UsageError(
            f"test=SHARE takes the share of each class to test on, above 0 and below 1, not {held.share:g}"
        )
    if not 0 <= held.seed < 2**63:
        raise UsageError(f"seed=N takes a whole number from 0 to {2**63 - 1}, not {held.seed}")
    if not Path(path).is_dir():
        raise FileNotFoundError(f"no folder of images at {written(path)}")
    root = _root(Path(path), held)
    tree = _tree(root)
    home = _home(tree.images, root, held)
    train, test = _folders(tree, home, root, held)
    classes, remarks = _classes(tree, train, test, root)
    label = {name: number for number, name in enumerate(classes)}
    known = {parts: label[parts[len(train)]] for parts in _below(tree.images, train) if len(parts) > len(train) + 1}
    tests = _tests(tree.images, test, train, root, label) if test else _held_out(known, held)
    trained = {parts: number for parts, number in known.items() if parts not in tests}
    tested = set(tests.values())
    if untested := [name for name in classes if label[name] not in tested]:
        remarks = (*remarks, f"no image to test on of {_listed(untested)}")
    rest = [parts for parts in tree.images if parts not in trained and parts not in tests]
    return Layout(
        {"train": _sorted(trained, root), "test": _sorted(tests, root)},
        classes,
        _unused(tree, rest, home, (train, test)),
        root,
        _test_source(test, held, usual=root == Path(path) and test == ("test",)),
        remarks,
    )


def annotations(path: Path) -> dict[str, str]:
    """File name -> class, of the lines of such a list. Raises OSError for a list that is damaged."""
    lines = os.fsdecode(path.read_bytes()).splitlines()  # as names of files are read, which need not be UTF-8
    rows = [line.split("\t") for line in lines if line]
    if not rows or any(len(row) < 2 for row in rows):
        raise OSError(f"{path} is damaged: its lines are not a file name, a tab and a class")
    return {row[0]: row[1] for row in rows}


def _root(path: Path, held: Held) -> Path:
    """The folder to look through: `path`, or the one around it where `path` is its train or test folder."""
    here = Path(os.path.abspath(path))  # noqa: PTH100, "imgs/train/." has a parent too, and links stay as they are
    if held.share or here.name.lower() not in ROLES or "train" in _roles_of(each.name for each in path.iterdir()):
        return path
    around = _roles_of(each.name for each in here.parent.iterdir() if each.is_dir())
    return here.parent if "train" in around and len(around) > 1 else path


def _roles_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Role -> those of the names that mean it: train -> [Train], val -> [val, valid]."""
    roles: dict[str, list[str]] = {}
    for name in sorted(names):
        if name.lower() in ROLES:
            roles.setdefault(ROLES[name.lower()], []).append(name)
    return roles


def _tree(root: Path) -> Tree:
    """All that lies below a folder, links followed. Raises OSError for a folder that may not be looked into."""
    tree, hidden = Tree([], [], [], 0), 0
    for parts, kind in _walk(root, (), False, frozenset()):
        if kind == "hidden":
            hidden += 1
        elif kind == "folder":
            tree.folders.append(parts)
        elif kind == "file" and _ending(parts) in ENDINGS:
            tree.images.append(parts)
        else:
            tree.others.append(parts)
    return tree._replace(hidden=hidden)


def _walk(folder: Path, at: Parts, hidden: bool, around: frozenset[tuple[int, int]]) -> Iterator[tuple[Parts, str]]:
    """Each entry below a folder and its kind: folder, file (a link to nothing is one), hidden, or other.

    at: the path of `folder` itself; around: the identities of the folders that it lies in.
    """
    status = folder.stat()
    identity = status.st_dev, status.st_ino
    if identity in around:  # a link to a folder that it lies in
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        if hidden:
            return
        reason = f"{error.strerror}; what lies in it would be left out"
        raise OSError(f"cannot look into {written(folder)}: {reason}") from None
    for entry in entries:
        no_data = hidden or entry.name.startswith(".") or entry.name in SYSTEM
        parts = (*at, entry.name)
        if entry.is_dir():
            if not no_data:
                yield parts, "folder"
            yield from _walk(folder / entry.name, parts, no_data, around | {identity})
        else:
            kind = "file" if entry.is_file() or entry.is_symlink() else "other"
            yield parts, "hidden" if no_data else kind


def _ending(parts: Parts) -> str:
    return Path(parts[-1]).suffix.lower()


def _below(images: Iterable[Parts], at: Parts) -> Iterator[Parts]:
    return (parts for parts in images if parts[: len(at)] == at)


def _children(images: Iterable[Parts], at: Parts) -> Counter[str]:
    """The folders right below the folder `at` that hold images -> how many they hold."""
    return Counter(parts[len(at)] for parts in _below(images, at) if len(parts) > len(at) + 1)


def _home(images: list[Parts], root: Path, held: Held) -> Parts:
    """In which folder the data set lies: `root` itself, or the only folder in it that holds one.

    That is one with a train folder and one to test on or, where a share of images is held out, one with a train folder
    or the classes. Raises OSError where several folders hold one.
    """

    def is_data_set(within: list[Parts], at: Parts) -> bool:
        roles = _roles_of(_children(within, at))
        trains = [name for name in roles.get("train", []) if _children(within, (*at, name))]
        return bool(trains) and (len(roles) > 1 or held.share > 0)

    if is_data_set(images, ()):
        return ()
    by_folder: dict[str, list[Parts]] = {}
    for parts in images:
        if len(parts) > 1:
            by_folder.setdefault(parts[0], []).append(parts)
    inner = [name for name, within in by_folder.items() if is_data_set(within, (name,))]
    if len(inner) > 1:
        words = " or ".join(f"folder:{written(root / name)}" for name in inner[:SHOWN])
        raise OSError(f"{written(root)} holds {len(inner)} data sets: say {words}")
    only = next(iter(by_folder), "")
    holds_classes = (
        len(by_folder) == 1 and all(len(parts) > 2 for parts in images) and len(_children(images, (only,))) > 1
    )
    return (inner[0],) if inner else (only,) if held.share and holds_classes else ()


def _folders(tree: Tree, home: Parts, root: Path, held: Held) -> tuple[Parts, Parts]:
    """The folder of the classes to train on, and that of the images to test on, () where those are held out.

    Raises OSError where that is not clear.
    """
    roles = _roles_of(_children(tree.images, home))
    for names in roles.values():
        if len(names) > 1:
            raise OSError(f"{written(root.joinpath(*home))} has {_listed(names, ' and ')}: keep one of them")
    folders = {role: (*home, names[0]) for role, names in roles.items()}
    train = folders.get("train", ())
    classes = _children(tree.images, train) if train else Counter[str]()
    if not classes and not held.share:
        raise FileNotFoundError(_unclear(tree, root, home))
    known = [
        folder
        for role in ("test", "val")
        if (folder := folders.get(role, ()))
        and ((root.joinpath(*folder, ANNOTATIONS)).is_file() or set(_children(tree.images, folder)) & set(classes))
    ]
    if held.share and classes and known:
        raise OSError(f"{written(root)} has images to test on in {'/'.join(known[0])}: leave out test={held.share:g}")
    if not known and not held.share:
        raise FileNotFoundError(_unclear(tree, root, home))
    if held.share and not classes and (roles or not _children(tree.images, home)):  # nobody calls a class test
        raise FileNotFoundError(_unclear(tree, root, home))
    return (train, ()) if held.share and classes else (home, ()) if held.share else (train, known[0])


def _unclear(tree: Tree, root: Path, home: Parts) -> str:
    """The message for a layout that is not clear: what is needed, what was seen, what could be written."""
    children, name = _children(tree.images, home), written(root.joinpath(*home))
    seen = [f"{child} with {_images(count)}" for child, count in sorted(children.items())]
    if loose := sum(len(parts) == len(home) + 1 for parts in _below(tree.images, home)):
        seen.append(f"{_images(loose)} in no folder")
    empty = [each[-1] for each in tree.folders if each[:-1] == home and each[-1] not in children]
    seen += [f"{child}, which has no images" for child in empty if child.lower() in ROLES]
    if not tree.images:
        seen.append(f"no images ({', '.join(ENDINGS)}), {_endings(tree.others) or 'no other files'}")
    roles = _roles_of(children)
    has_classes = any(_children(tree.images, (*home, child)) for child in roles.get("train", []))
    hint = ""
    if has_classes and len(roles) > 1:
        hint = "; below test or val there must be folders of the same names as below train"
    elif has_classes or (children and not roles):
        hint = (
            f"; to test on a fifth of each class of {_listed(_classes_at(tree, home, roles))}: folder:{name}:test=0.2"
        )
    elif tree.images:
        hint = "; the label of an image is the name of its folder"
    return (
        f"{name} needs train/CLASS/ and test/CLASS/ (or val/CLASS/) with images in them; it has {_listed(seen)}{hint}"
    )


def _classes_at(tree: Tree, home: Parts, roles: Mapping[str, list[str]]) -> list[str]:
    return sorted(_children(tree.images, (*home, *roles.get("train", []))))


def _classes(tree: Tree, train: Parts, test: Parts, root: Path) -> tuple[list[str], tuple[str, ...]]:
    """The names of the classes in alphabetical order, and a remark on folders that hold no images and so are none.

    Raises OSError naming a class without a training image, or the only class.
    """
    classes = sorted(_children(tree.images, train))
    empty = [parts for parts in tree.folders if parts[:-1] == train and parts[-1] not in classes]
    roles = ROLES if not test else {}  # beside classes that a part is held out of, an empty test folder is no class
    empty = [parts for parts in empty if parts[-1].lower() not in roles]
    tested = set(_children(tree.images, test)) if test else set()
    for parts in empty:
        files = [each for each in tree.others if each[: len(parts)] == parts]
        if parts[-1] in tested or any(_ending(each) in OTHER_IMAGES for each in files):
            reason = f"{written(root.joinpath(*parts))} has no images, {_endings(files) or 'no files at all'}"
            raise OSError(f"the class {written(parts[-1])} has no training image: {reason}")
    if len(classes) < 2:
        inner = sorted(_children(tree.images, (*train, *classes)))
        seen = f"{_listed(classes)}, in which are {_listed(inner)}" if inner else _listed(classes)
        raise OSError(f"{written(root.joinpath(*train))} has one class only, {seen}: two are needed")
    names = _listed([parts[-1] for parts in empty])
    return classes, (f"folders without images are no classes: {names}",) if empty else ()


def _tests(images: list[Parts], test: Parts, train: Parts, root: Path, label: Mapping[str, int]) -> dict[Parts, int]:
    """The images to test on and their labels: by folder, or of a folder as Tiny ImageNet's by its list of annotations.

    Raises OSError for a class that is not trained on, or an image that is missing.
    """
    folder, classes = written(root.joinpath(*test)), _children(images, test)
    listed = root.joinpath(*test, ANNOTATIONS)
    if not set(classes) & set(label) and listed.is_file():
        names, files = annotations(listed), {parts[-1]: parts for parts in _below(images, test)}
        if strange := set(names.values()).difference(label):
            raise OSError(f"{written(listed)} names the unknown class {min(strange)}")
        if missing := set(names).difference(files):
            raise OSError(f"{folder} has no {written(min(missing))}, which {ANNOTATIONS} lists")
        return {files[name]: label[of] for name, of in names.items()}
    if strange := set(classes).difference(label):
        trained = written(root.joinpath(*train))
        raise OSError(
            f"{folder} has the class {written(min(strange))}, which {trained} has not: no training image of it"
        )
    return {parts: label[parts[len(test)]] for parts in _below(images, test) if len(parts) > len(test) + 1}


def _held_out(known: Mapping[Parts, int], held: Held) -> dict[Parts, int]:
    """The images held out and their labels: a share of each class, of two images or more at least one and never all."""
    chosen: dict[Parts, int] = {}
    of_class: dict[int, list[Parts]] = {}
    for parts, label in known.items():
        of_class.setdefault(label, []).append(parts)
    for label, members in of_class.items():
        members.sort(key=_order)
        count = min(max(int(held.share * len(members) + 0.5), 1), len(members) - 1)
        order = stream(held.seed, "folder", "test", label).permutation(len(members))
        chosen.update(dict.fromkeys((members[k] for k in order[:count]), label))
    return chosen


def _order(parts: Parts) -> tuple[str, str]:
    """Files as torchvision orders them: by their folder, then by name."""
    return "/".join(parts[:-1]), parts[-1]


def _sorted(labelled: Mapping[Parts, int], root: Path) -> Split:
    order = sorted(labelled, key=lambda parts: (labelled[parts], _order(parts)))
    return [(root.joinpath(*parts), labelled[parts]) for parts in order]


def _unused(tree: Tree, rest: list[Parts], home: Parts, used: tuple[Parts, Parts]) -> dict[str, int]:
    """Why files are neither trained nor tested on -> how many.

    rest: the images of that kind; used: the folders of train and test, () where there is none.
    """
    counts: Counter[str] = Counter()
    for parts in rest:
        in_split = any(folder and parts[: len(folder)] == folder for folder in used)
        top = parts[: len(home) + 1] if parts[: len(home)] == home else parts[:1]
        loose = in_split or len(top) == len(parts)
        counts["outside the folders of classes" if loose else f"in {written('/'.join(top))}"] += 1
    if tree.others:
        counts[f"with other endings ({_endings(tree.others)})"] = len(tree.others)
    if tree.hidden:
        counts["hidden or of the system"] = tree.hidden
    return dict(counts)


def _test_source(test: Parts, held: Held, usual: bool) -> str:
    """Where the images to test on come from, in words; "" where that is the usual folder."""
    if held.share:
        return f" ({held.share:.3g} of each class, drawn by seed {held.seed})"
    return "" if usual else f" (in {written('/'.join(test))})"


def _endings(files: Iterable[Parts]) -> str:
    """The endings of files and how many have each, in words: ".gif 3, .txt 1"."""
    counts = Counter(_ending(parts) or "none" for parts in files)
    return _listed(
        [f"{written(ending)} {count}" for ending, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]
    )


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def _listed(words: list[str], between: str = ", ") -> str:
    """The first of many words, and how many more there are."""
    more = [f"{len(words) - SHOWN} more"] if len(words) > SHOWN else []
    return between.join([*map(written, words[:SHOWN]), *more])
