"""Help: plain text, the options that matter first, an example at the end.

Written here and not by Typer's rich panels: loading what draws those takes longer than all the rest of `sdd --help`.
"""

from textwrap import wrap
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from typer._click.core import Context
    from typer._click.formatting import HelpFormatter

MAIN = ("dataset", "model", "noise", "criterion", "retraining", "level", "seed", "epochs", "runs", "dry_run")
"""The options of a sweep that a newcomer needs, in this order."""
PANELS = {
    "Main options": MAIN,
    "Data": ("noise_kind", "train_size", "validation", "augment", "data_dir"),
    "Training": (
        *("init", "loss", "optimizer", "lr", "momentum", "weight_decay", "schedule", "milestones", "gamma"),
        *("batch_size", "length", "regularization", "dropout", "eval_every", "take", "precision"),
    ),
    "Pruning": ("rate", "pruning", "scope", "unit", "count", "start", "rewind", "keep"),
    "Random seeds": ("init_seed", "order_seed", "noise_seed"),
    "Cluster": ("on", "address", "gpus_per_task", "partition", "time"),
}
"""Under which heading the help of a command with settings of runs shows which options; the others stand below."""
PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names}
REST = "Running"
NOTE = "\n\nExample: "


class Command(TyperCommand):
    """A command whose help shows its options by PANELS where it has settings of runs, and ends in its example."""

    def format_help_text(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Its docstring up to the example."""
        whole = self.help
        self.help = (whole or "").partition(NOTE)[0]
        super().format_help_text(ctx, formatter)
        self.help = whole

    def format_epilog(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Its example, the last line of the help, unwrapped so that it can be copied."""
        with formatter.section("Example"):
            formatter.write(f"  {(self.help or '').partition(NOTE)[2].strip()}\n")

    def format_options(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Its arguments, then its options."""
        params = self.get_params(ctx)
        names = {param.name for param in params}
        ranks = list(PANEL_OF) if names & {"dataset", "criterion"} else []
        sections: dict[str, list[Any]] = {}
        for param in sorted(params, key=lambda each: ranks.index(each.name) if each.name in ranks else len(ranks)):
            panel = PANEL_OF.get(str(param.name), REST) if "dataset" in names else "Options"
            sections.setdefault("Arguments" if param.param_type_name == "argument" else panel, []).append(param)
        for name in ("Arguments", *PANELS, REST, "Options"):
            rows = [row for param in sections.get(name, ()) if (row := param.get_help_record(ctx))]
            if rows:
                with formatter.section(name):
                    formatter.write("".join(_row(first, text, formatter.width) for first, text in rows))


def _row(name: str, text: str, width: int, indent: int = 27) -> str:
    """A name and what it is, side by side, or below each other where the name is long. Names are not broken."""
    first = f"  {name.partition(' <')[0]:<{indent - 2}}"  # without the type of an argument
    lines = wrap(text, max(width - indent, 20), break_on_hyphens=False)
    if len(first) > indent:
        lines = ["", *lines]
    return first + f"\n{' ' * indent}".join(lines) + "\n"
