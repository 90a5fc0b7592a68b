"""A feature set: what one hopes to find, as values per example."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from feature_sets.display import Shown, list_some
from feature_sets.errors import UserError
from feature_sets.values import (
    check_kind,
    check_place,
    read_integers,
    read_list,
    read_names,
    read_numbers,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class FeatureSet(Shown):
    """Feature values of N examples.

    Attributes:
        values: (N, F) finite numbers; 0 and 1 for a binary feature.
        names: F names.
        families: family of each feature, for example "a+b".
        groups: features of one group are one thing with several coordinates, such as the cosine
            and the sine of one frequency; a feature with a single one is its own group.
        frequencies: frequency of each feature, where they are waves; else empty.

    Raises:
        UserError: if there is none, lengths differ, a name occurs twice, a feature is constant or
            not finite, or a group mixes binary and real features.

    Example:
        >>> FeatureSet(np.array([[1.0], [0.0]]), ("is noun",), ("tag",), ("is noun",)).is_binary
        [True]
    """

    values: Shaped[np.ndarray, "n f"]
    names: tuple[str, ...]
    families: tuple[str, ...]
    groups: tuple[str, ...]
    frequencies: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        given: Any = self.values
        if isinstance(given, Mapping) or hasattr(given, "columns"):
            maker = "from_dict" if isinstance(given, Mapping) else "from_frame"
            raise UserError(
                f"values is a {type(given).__name__}: call FeatureSet.{maker}, which takes its "
                "names too."
            )
        values = read_numbers("values", self.values)
        if values.ndim != 2:
            raise UserError(f"values has shape {values.shape}: pass (examples, features).")
        object.__setattr__(self, "values", values.astype(np.float64))
        count = values.shape[1]
        if count == 0:
            raise UserError("there are no features: pass one or more.")
        if len(values) == 0:
            raise UserError("there are no examples: pass one or more.")
        for what in ("names", "families", "groups"):
            texts = read_names(what, getattr(self, what), unique=False)
            object.__setattr__(self, what, tuple(texts))
        frequencies = tuple(read_integers("frequencies", self.frequencies))
        object.__setattr__(self, "frequencies", frequencies)
        if not len(self.names) == len(self.families) == len(self.groups) == count:
            raise UserError(
                f"{count} features need as many names, families and groups, not "
                f"{len(self.names)}, {len(self.families)}, {len(self.groups)}."
            )
        if len(self.frequencies) not in (0, count):
            raise UserError(
                f"{len(self.frequencies)} frequencies for {count} features: pass one each, or none."
            )
        if len(set(self.names)) < count:
            raise UserError("two features have one name: make the names unique.")
        for index, name in enumerate(self.names):
            column = self.values[:, index]
            if not np.isfinite(column).all():
                raise UserError(f"feature {name!r} is not finite: drop it or fix its values.")
            if np.ptp(column) == 0:
                raise UserError(f"feature {name!r} is constant over the examples: drop it.")
        kinds: dict[str, bool] = {}
        for group, binary in zip(self.groups, self.is_binary, strict=True):
            if kinds.setdefault(group, binary) != binary:
                raise UserError(f"group {group!r} mixes binary and real features: split it.")

    @classmethod
    def from_dict(
        cls,
        features: Mapping[str, Any],
        *,
        families: str | Mapping[str, str] = "features",
        groups: Mapping[str, str] | None = None,
    ) -> FeatureSet:
        """A feature set of named columns.

        Args:
            features: name to N numbers or truth values: lists, numpy arrays, tensors, series.
            families: one family for all, or name to family; a name that lacks there is in the
                family "features".
            groups: name to group, for features that are one thing together; by default each is its
                own.

        Raises:
            UserError: if there are none, a column is no row of numbers, lengths differ, or as the
                class.

        Example:
            >>> features = FeatureSet.from_dict({"is noun": [True, False], "length": [3, 5]})
            >>> features.values.tolist(), features.names
            ([[1.0, 3.0], [0.0, 5.0]], ('is noun', 'length'))
        """
        if hasattr(features, "columns"):
            raise UserError("features is a table: call FeatureSet.from_frame.")
        check_kind("features", features, Mapping, "a mapping from names to values")
        if not features:
            raise UserError("no features: pass name to values of one or more.")
        check_kind("families", families, (str, Mapping), "one family, or a mapping from names")
        check_kind("groups", groups, (Mapping, type(None)), "a mapping from names to groups")
        names = tuple(str(name) for name in features)
        columns = [_read_column(name, values) for name, values in features.items()]
        lengths = dict(zip(names, map(len, columns), strict=True))
        if len(set(lengths.values())) > 1:
            raise UserError(f"features have different numbers of examples: {lengths}.")
        for what, chosen in (("families", families), ("groups", groups)):
            unknown = set() if chosen is None or isinstance(chosen, str) else {*chosen} - {*names}
            if unknown:
                raise UserError(f"{what} of {sorted(unknown)}: there are the features {names}.")
        family = {} if isinstance(families, str) else families
        default = families if isinstance(families, str) else "features"
        return cls(
            np.stack(columns, 1),
            names,
            tuple(family.get(name, default) for name in names),
            tuple((groups or {}).get(name, name) for name in names),
        )

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        families: str | Mapping[str, str] = "features",
        groups: Mapping[str, str] | None = None,
    ) -> FeatureSet:
        """A feature set of a table's columns; a column of texts becomes a feature for each text.

        Args:
            frame: a row per example. A column of texts or categories, such as tags, is one family
                of binary features: "tag=NOUN" and so on.
            families: one family for the columns of numbers, or column to family.
            groups: column of numbers to group.

        Raises:
            UserError: if there is no column, one has missing values, or as ``from_dict``.

        Example:
            >>> import pandas as pd
            >>> frame = pd.DataFrame({"tag": ["NOUN", "VERB", "NOUN"], "length": [3, 4, 5]})
            >>> features = FeatureSet.from_frame(frame)
            >>> features.names, features.families
            (('tag=NOUN', 'tag=VERB', 'length'), ('tag', 'tag', 'features'))
        """
        if not hasattr(frame, "columns"):
            raise UserError(f"frame is a {type(frame).__name__}: pass a pandas DataFrame.")
        check_kind("families", families, (str, Mapping), "one family, or a mapping from columns")
        unknown = set() if isinstance(families, str) else {*families} - {*frame.columns}
        if unknown:
            raise UserError(f"families of {sorted(unknown)}: there are {list(frame.columns)}.")
        if not frame.columns.is_unique:
            raise UserError("two columns have one name: make the names unique.")
        columns: dict[str, Any] = {}
        family: dict[str, str] = {}
        for name in frame.columns:
            values = frame[name]
            if values.isna().any():
                raise UserError(
                    f"column {name!r} has {int(values.isna().sum())} missing values: drop those "
                    "examples (and their directions), or the column."
                )
            if values.dtype.kind in "biuf":
                columns[str(name)] = values.to_numpy()
                family[str(name)] = (
                    families if isinstance(families, str) else families.get(name, "features")
                )
                continue
            texts = values.astype(str)
            for text in dict.fromkeys(texts):
                columns[f"{name}={text}"] = (texts == text).to_numpy()
                family[f"{name}={text}"] = str(name)
        return cls.from_dict(columns, families=family, groups=groups)

    def __len__(self) -> int:
        return len(self.names)

    def _lines(self) -> list[str]:
        n, binary = len(self.values), sum(self.is_binary)
        return [
            f"FeatureSet: {len(self)} features of {n} examples, {binary} binary; families "
            f"{list_some(self.family_names())}",
            list_some(self.names),
        ]

    def to_pandas(self) -> pd.DataFrame:
        """A row per example, a column per feature: what ``from_frame`` takes."""
        import pandas as pd

        return pd.DataFrame(self.values, columns=list(self.names))

    def _shown_table(self) -> pd.DataFrame:
        """A row per feature: more telling than the examples' zeros and ones."""
        import pandas as pd

        return pd.DataFrame(
            {
                "feature": self.names,
                "family": self.families,
                "group": self.groups,
                "binary": self.is_binary,
                "mean": self.values.mean(0),
                "examples with it": (self.values != 0).sum(0),
            }
        )

    @property
    def is_binary(self) -> list[bool]:
        """Whether each feature only takes the values 0 and 1."""
        return ((self.values == 0) | (self.values == 1)).all(0).tolist()

    def group_names(self) -> list[str]:
        """The groups, in order of first appearance."""
        return list(dict.fromkeys(self.groups))

    def family_names(self) -> list[str]:
        """The families, in order of first appearance."""
        return list(dict.fromkeys(self.families))

    def family(self, *names: str) -> FeatureSet:
        """The features of these families.

        Raises:
            UserError: for an unknown family; the message has the known ones.
        """
        missing = [name for name in names if name not in self.families]
        if missing:
            raise UserError(f"no family {missing[0]!r}: there are {self.family_names()}.")
        return self.take([i for i, family in enumerate(self.families) if family in names])

    def group(self, name: str) -> FeatureSet:
        """The features of one group.

        Raises:
            UserError: for an unknown group.
        """
        if name not in self.groups:
            raise UserError(f"no group {name!r}: there are {self.group_names()[:8]} ...")
        return self.take([i for i, group in enumerate(self.groups) if group == name])

    def take(self, columns: Sequence[int]) -> FeatureSet:
        """The features of these columns, in this order.

        Raises:
            UserError: if there are none, or for a column that there is not.
        """
        columns = read_list("columns", columns, "integers")
        for column in columns:
            check_place("column", column, len(self))
        if not columns:
            raise UserError(f"no features are left of {len(self)}: pass what leaves one or more.")
        return FeatureSet(
            self.values[:, list(columns)],
            tuple(self.names[i] for i in columns),
            tuple(self.families[i] for i in columns),
            tuple(self.groups[i] for i in columns),
            tuple(self.frequencies[i] for i in columns) if self.frequencies else (),
        )

    def rows(self, rows: Sequence[int] | np.ndarray) -> FeatureSet:
        """The same features of these examples.

        Args:
            rows: their places, or a truth value for each example.

        Raises:
            UserError: for a place that there is not, or if a feature is constant over them.
        """
        chosen = np.asarray(read_list("rows", rows, "integers"))
        if chosen.dtype == bool and len(chosen) == len(self.values):
            chosen = np.flatnonzero(chosen)
        for row in chosen.tolist():
            check_place("row", row, len(self.values))
        return replace(self, values=self.values[chosen.astype(int)])

    def binary(self) -> FeatureSet:
        """The features that only take the values 0 and 1."""
        return self.take([i for i, binary in enumerate(self.is_binary) if binary])

    def without(self, names: Collection[str]) -> FeatureSet:
        """The features but for these names.

        Raises:
            UserError: for an unknown name, or if none is left.
        """
        unknown = [name for name in read_list("names", names, "texts") if name not in self.names]
        if isinstance(names, str):
            read_names("names", names)
        if unknown:
            raise UserError(f"no feature {unknown[0]!r}: there are {list_some(self.names)}.")
        return self.take([i for i, name in enumerate(self.names) if name not in names])


def _read_column(name: Any, values: Any) -> Shaped[np.ndarray, " n"]:
    """One feature's values as numbers."""
    try:
        found = read_numbers(f"feature {name!r}", values)
    except UserError:
        found = np.array(0)
    if found.ndim != 1:
        raise UserError(
            f"feature {name!r} is a {type(values).__name__} of another kind or shape: pass one "
            "number or truth value per example. Texts: FeatureSet.from_frame."
        )
    return found.astype(np.float64)


def check_feature_set(features: Any) -> None:
    """Refuse what is no FeatureSet.

    Raises:
        UserError: names its class.
    """
    check_kind(
        "features", features, FeatureSet, "a FeatureSet, such as FeatureSet.from_dict({name: x})"
    )
