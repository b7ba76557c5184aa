"""Contents of a report, apart from drawing and layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from autorec_cli.evaluation.metrics import Estimate

Cell = str | int | float | None

LINES, GROUPS, INTERVALS = "lines", "groups", "intervals"
"""Kinds of charts: y over numbers; y of named groups; a value with its interval for each name, one below the other."""


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns.

    Attributes:
        title: Heading; empty for none.
        columns: Their names.
        rows: As many cells each; the first one names the row.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Series:
    """Values of one model or baseline in a chart.

    Attributes:
        name: Of the model or baseline.
        x: Numbers, or names of groups.
        y: A value for each x; NaN for none.
        margins: Half widths of 95% intervals; empty without intervals.
        is_baseline: Drawn paler than models.
    """

    name: str
    x: Sequence[float | str]
    y: Sequence[float]
    margins: Sequence[float] = ()
    is_baseline: bool = False

    @classmethod
    def of(
        cls, name: str, x: Sequence[float | str], estimates: Sequence[Estimate], is_baseline: bool = False
    ) -> Series:
        """Series of estimates with their intervals."""
        return cls(name, x, [each.value for each in estimates], [each.margin for each in estimates], is_baseline)


@dataclass(frozen=True)
class Chart:
    """A figure, whose numbers are a table too.

    Attributes:
        key: Name in the page, unlike that of any other chart.
        title: Heading.
        text: Meaning of what is drawn, in a sentence or two.
        x_label, y_label: Labels of the axes, with units.
        kind: LINES, GROUPS or INTERVALS.
        series: What is drawn.
        reference: "zero" for a line at 0, "diagonal" for one from corner to corner.
    """

    key: str
    title: str
    text: str
    x_label: str
    y_label: str
    kind: str
    series: Sequence[Series]
    reference: str = ""

    def table(self) -> Table:
        """Numbers of the figure: rows by x, columns by series.

        The title says what they are, with their unit.
        """
        xs = list(dict.fromkeys(x for series in self.series for x in series.x))
        columns = [self.y_label if self.kind == INTERVALS else self.x_label]
        cells: list[dict[float | str, float]] = []
        for series in self.series:
            columns.append(series.name)
            cells.append(dict(zip(series.x, series.y, strict=True)))
            if series.margins:
                columns.append("± (95%)")
                cells.append(dict(zip(series.x, series.margins, strict=True)))
        title = self.x_label if self.kind == INTERVALS else self.y_label
        return Table(title, columns, [[x, *(values.get(x) for values in cells)] for x in xs])


@dataclass(frozen=True)
class Section:
    """Part of the page with a heading.

    Attributes:
        key: Name in the page.
        title: Heading.
        text: Introduction; empty for none.
        notes: Sentences, one in each item of a list.
        tables: Tables of their own.
        charts: Figures.
    """

    key: str
    title: str
    text: str = ""
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to show."""
        return not (self.notes or self.tables or self.charts)


@dataclass(frozen=True)
class Report:
    """Contents of a page.

    Attributes:
        title: Heading.
        written: Moment of writing, and version.
        warnings: Sentences on what to be careful about.
        sections: Parts of the page, in order.
    """

    title: str
    written: str
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=tuple)
