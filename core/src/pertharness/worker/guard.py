"""The Guard: the contracts of every hook, checked on what goes in and what comes out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.errors import ContractError, DataError
from pertharness.expression import layers_of
from pertharness.hookspecs import PROTOCOL, hookimpl
from pertharness.jobs import Job
from pertharness.scores import COLUMNS, TABLE_COLUMNS, Scores

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness.cards import Card, ScorerOffer, TableOffer

RESERVED = ("scores", "curves")
"""Names of tables that the harness writes itself."""


class Guard:
    """A pluggy wrapper around every hook of one job's plugin.

    Raises
    ------
    ContractError
        Naming plugin, hook and value: the record becomes ``invalid``.
    """

    def __init__(self, job: Job) -> None:
        self.plugin = job.plugin.name
        self.offer = job.name

    def _refuse(self, hook: str, what: str) -> ContractError:
        offer = f"({self.offer!r})" if self.offer else "()"
        return ContractError(f"plugin {self.plugin!r}, hook {hook}{offer}: {what}")

    @hookimpl(wrapper=True)
    def describe(self) -> Generator[None, Any, Any]:
        """Check that there is a card, of a protocol that this version speaks."""
        from pertharness.cards import Card

        card = yield
        if not isinstance(card, Card):
            raise self._refuse("describe", f"gave {type(card).__name__}, expected a pertharness.Card")
        if card.protocol != PROTOCOL:
            raise self._refuse(
                "describe",
                f"the plugin speaks hook protocol {card.protocol}, this version of pertharness speaks {PROTOCOL}; "
                "install a version of the plugin, or of pertharness, that fits",
            )
        self._check_names(card)
        return card

    def _check_names(self, card: Card) -> None:
        for kind in ("datasets", "embeddings", "models", "scorers"):
            names = [offer.name for offer in getattr(card, kind)]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise self._refuse("describe", f"the card's {kind} name {twice[0]!r} more than once")

    @hookimpl(wrapper=True)
    def load_dataset(self, name: str) -> Generator[None, Any, Any]:
        """Check the canonical form."""
        from pertharness.canonical import check_dataset
        from pertharness.stored import Stored

        adata = yield
        if not isinstance(adata, Stored):
            self._check_anndata("load_dataset", adata)
        try:
            check_dataset(adata, name)
        except DataError as error:
            raise self._refuse("load_dataset", str(error)) from None
        return adata

    @hookimpl(wrapper=True)
    def embed(self, labels: list[str]) -> Generator[None, Any, Any]:
        """Check that rows are labels, each once, and values numbers."""
        import pandas as pd

        table = yield
        if not isinstance(table, pd.DataFrame) or not len(table.columns):
            raise self._refuse(
                "embed", f"gave {type(table).__name__}, expected a DataFrame with a column per dimension"
            )
        self._check_known("embed", "label", table.index, labels)
        values = table.to_numpy()
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise self._refuse("embed", "the embedding holds values that are not finite numbers; leave such labels out")
        return table

    @hookimpl(wrapper=True)
    def fit(self, train: AnnData, val: AnnData | None) -> Generator[None, Any, Any]:
        """Check that train and val are left as they were, and that there is a model."""
        before = digest(train), digest(val)
        model = yield
        for what, old, now in zip(("train", "val"), before, (digest(train), digest(val)), strict=True):
            if old != now:
                raise self._refuse("fit", f"changed {what!r}; work on a copy: {what} = {what}.copy()")
        if model is None:
            raise self._refuse("fit", "gave None, expected the fitted model (any other object will do)")
        return model

    @hookimpl(wrapper=True)
    def predict(self, controls: AnnData, queries: list[str]) -> Generator[None, Any, Any]:
        """Check genes, order, queries and finite values."""
        before = digest(controls)
        prediction = yield
        if digest(controls) != before:
            raise self._refuse("predict", "changed 'controls'; work on a copy: controls = controls.copy()")
        self.check_form(prediction)
        self.check_columns(prediction, controls)
        self.check_queries(prediction, queries)
        self.check_values(prediction)
        self.check_notes(prediction)
        return prediction

    def check_form(self, prediction: Any) -> None:
        """Check that a prediction is an AnnData whose rows have labels."""
        self._check_anndata("predict", prediction)
        if "perturbation" not in prediction.obs:
            raise self._refuse(
                "predict", "obs has no column 'perturbation'; pertharness.make_prediction makes the right form"
            )

    def check_columns(self, prediction: AnnData, controls: AnnData) -> None:
        """Check that a prediction has the genes of the controls, in their order."""
        check_genes(prediction.var_names, controls.var_names, lambda what: self._refuse("predict", what))

    def check_queries(self, prediction: AnnData, queries: list[str]) -> None:
        """Check that each query, and no other, is answered once, or has a reason why it is not."""
        answered = [str(label) for label in prediction.obs["perturbation"]]
        self._check_known("predict", "query", answered, queries)
        self._check_answers(answered, queries, self._reasons(prediction, "unanswered", "query"))

    def _reasons(self, prediction: AnnData, field: str, what: str) -> Mapping[str, Any]:
        """Give a field of ``uns`` that says why something is missing."""
        reasons = prediction.uns.get(field, {})
        if not isinstance(reasons, Mapping):
            raise self._refuse(
                "predict", f"uns[{field!r}] is a {type(reasons).__name__}, expected a dict: {what} -> reason"
            )
        return reasons

    def _check_answers(self, answered: list[str], queries: list[str], unanswered: Mapping[str, Any]) -> None:
        self._check_known("predict", "unanswered query", unanswered, queries)
        both = sorted(set(answered) & set(unanswered))
        if both:
            raise self._refuse("predict", f"the query {both[0]!r} is both answered and in uns['unanswered']")
        silent = [query for query in queries if query not in set(answered) and query not in unanswered]
        if silent:
            raise self._refuse(
                "predict",
                f"{len(silent)} of {len(queries)} queries are neither answered nor in uns['unanswered'] "
                f"(first: {silent[0]!r}); give a row for each, or the reason why there is none",
            )

    def check_values(self, prediction: AnnData) -> None:
        """Check that values are finite numbers, but for genes that the prediction says it lacks."""
        values = as_matrix(prediction)
        if values.dtype.kind not in "fiu":
            raise self._refuse("predict", f"X holds values of the type {values.dtype.name!r}, expected numbers")
        missing = self._reasons(prediction, "missing_genes", "gene")
        unknown = sorted(set(missing) - set(prediction.var_names))
        if unknown:
            raise self._refuse(
                "predict", f"uns['missing_genes'] names {unknown[0]!r}, which is not a gene of the dataset"
            )
        is_missing = np.asarray(prediction.var_names.isin(list(missing)))
        given = is_missing & ~np.isnan(values).all(axis=0)
        if given.any():
            gene = prediction.var_names[given][0]
            raise self._refuse(
                "predict", f"uns['missing_genes'] names {gene!r}, which has values; make the whole column NaN"
            )
        bad = ~np.isfinite(values) & ~is_missing
        if bad.any():
            row, column = np.argwhere(bad)[0]
            query, gene = prediction.obs["perturbation"].iloc[row], prediction.var_names[column]
            raise self._refuse(
                "predict",
                f"{int(bad.sum())} of {bad.size} values are not finite (first: {values[row, column]} for the query "
                f"{query!r}, gene {gene!r}); leave such queries unanswered, or name genes that cannot be predicted in "
                "uns['missing_genes']",
            )

    def check_notes(self, prediction: AnnData) -> None:
        """Check that what a prediction says beside its values is a list of texts."""
        notes = prediction.uns.get("notes", [])
        if not isinstance(notes, (list, tuple)) or not all(isinstance(note, str) for note in notes):
            raise self._refuse("predict", f"uns['notes'] is {notes!r:.200}, expected a list of texts")

    def _check_anndata(self, hook: str, value: Any) -> None:
        from anndata import AnnData

        if not isinstance(value, AnnData):
            raise self._refuse(hook, f"gave {type(value).__name__}, expected an AnnData")

    def _check_known(self, hook: str, what: str, found: Iterable[Any], expected: Iterable[str]) -> None:
        """Refuse labels that were not asked for, or come twice."""
        names = [str(label) for label in found]
        allowed = set(expected)
        extra = [name for name in names if name not in allowed]
        if extra:
            raise self._refuse(hook, f"the {what} {extra[0]!r} was not asked for (asked: {_some(allowed)})")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise self._refuse(hook, f"the {what} {twice!r} comes more than once")


def check_scores(table: Any, offer: ScorerOffer, queries: list[str], plugin: str) -> pd.DataFrame:
    """Give a score table with its columns in order, once it keeps the contract.

    Raises
    ------
    ContractError
        If a column is missing, a metric, variant or perturbation is not one that was announced, or a score comes twice.
    """
    import pandas as pd

    def refuse(what: str) -> ContractError:
        return ContractError(f"plugin {plugin!r}, hook score({offer.name!r}): {what}")

    table = table.table if isinstance(table, Scores) else table
    if not isinstance(table, pd.DataFrame):
        raise refuse(f"gave {type(table).__name__}, expected a DataFrame or a pertharness.Scores")
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise refuse(f"the table has no column {missing[0]!r}; expected {', '.join(COLUMNS)}")
    table = table.loc[:, list(COLUMNS)]
    announced = {(metric.id, variant) for metric in offer.metrics for variant in metric.variants}
    for metric, variant in table[["metric", "variant"]].drop_duplicates().itertuples(index=False):
        if (metric, variant) not in announced:
            raise refuse(f"metric {metric!r}, variant {variant!r} is not on the card (there: {_some(announced)})")
    levels = {metric.id: metric.level for metric in offer.metrics}
    whole = table["perturbation"].eq("")
    for level, wrong, what in (("perturbation", whole, "no perturbation"), ("task", ~whole, "a perturbation")):
        odd = table.loc[wrong & table["metric"].map(levels).eq(level), "metric"]
        if len(odd):
            raise refuse(f"a value of {odd.iloc[0]!r} names {what}; its level is {level!r}")
    known = {*queries, ""}
    for label in table["perturbation"].unique():
        if label not in known:
            raise refuse(f"the perturbation {label!r} was not asked for")
    if table.duplicated(list(COLUMNS[:-1])).any():
        row = table[table.duplicated(list(COLUMNS[:-1]))].iloc[0]
        raise refuse(f"two values for {row['metric']!r} ({row['variant']!r}) of {row['perturbation']!r}")
    if len(table) and table["value"].dtype.kind not in "fiu":
        raise refuse(f"the column 'value' holds {table['value'].iloc[0]!r}, expected numbers, NaN where undefined")
    infinite = np.isinf(table["value"].to_numpy(dtype=float))
    if infinite.any():
        row = table[infinite].iloc[0]
        raise refuse(f"{row['value']} for {row['metric']!r} of {row['perturbation']!r}; expected NaN where undefined")
    return table


def check_artefacts(given: Any, offer: ScorerOffer, plugin: str) -> dict[str, pd.DataFrame]:
    """Give the larger tables of a scorer by name, once each is a table and its name can be that of a file.

    Raises
    ------
    ContractError
        If one is not.
    """
    import pandas as pd

    tables = given.artefacts if isinstance(given, Scores) else {}
    for name, table in tables.items():
        what = ""
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name in RESERVED:
            what = (
                f"an artefact is called {name!r}; expected letters, digits, '_' or '-', and none of {_some(RESERVED)}"
            )
        elif not isinstance(table, pd.DataFrame):
            what = f"the artefact {name!r} is a {type(table).__name__}, expected a DataFrame"
        else:
            what = next((_wrong_with(one, table) for one in offer.tables if one.name == name), "")
        if what:
            raise ContractError(f"plugin {plugin!r}, hook score({offer.name!r}): {what}")
    return tables


def _wrong_with(offer: TableOffer, table: pd.DataFrame) -> str:
    """Say why a table cannot be joined with those of other models and splits as its card asks; empty if it can."""
    taken = [name for name in table.columns if name in TABLE_COLUMNS]
    if taken:
        return f"the table {offer.name!r} has a column {taken[0]!r}, which the harness adds; name it otherwise"
    needed = [*offer.count, *(offer.largest or ())[:1]]
    absent = [name for name in needed if name not in (*table.columns, *TABLE_COLUMNS)]
    if absent:
        return f"the table {offer.name!r} has no column {absent[0]!r}, by which its card says that it is joined"
    if offer.largest and len(table) and table[offer.largest[0]].dtype.kind not in "fiu":
        return f"the column {offer.largest[0]!r} of the table {offer.name!r} holds no numbers"
    return ""


def check_genes(found: pd.Index, expected: pd.Index, refuse: Any) -> None:
    """Raise what `refuse` makes of the first difference between two lists of genes."""
    if list(found) == list(expected):
        return
    absent, extra = [g for g in expected if g not in set(found)], [g for g in found if g not in set(expected)]
    if absent or extra:
        what = (
            f"genes are missing: {len(absent)} (first: {absent[:1]}), "
            f"and not of the dataset: {len(extra)} (first: {extra[:1]})"
        )
    else:
        place = next(i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
        what = f"the genes are in another order (gene {place} is {found[place]!r}, expected {expected[place]!r})"
    raise refuse(f"{what}; var_names must equal controls.var_names")


def as_matrix(prediction: AnnData) -> np.ndarray:
    """Give the values of a prediction, dense, shape (n_answered, n_genes)."""
    from scipy import sparse

    return np.asarray(prediction.X.toarray() if sparse.issparse(prediction.X) else prediction.X)


def digest(adata: AnnData | None) -> str:
    """Give a hash of values, labels and names, so that a change is noticed."""
    if adata is None:
        return ""
    digest = hashlib.blake2b(digest_size=16)
    parts = [adata.X, *layers_of(adata).values()]
    for part in parts:
        if hasattr(part, "sum_duplicates"):  # done by many a reading method of scipy: no change of values
            part.sum_duplicates()
        for name in ("data", "indices", "indptr") if hasattr(part, "indptr") else ("",):
            digest.update(np.ascontiguousarray(getattr(part, name) if name else part).data)
    for table in (adata.obs, adata.var):
        digest.update(repr((list(table.index), list(table.columns))).encode())
        for column in table.columns:
            digest.update(repr(table[column].tolist()).encode())
    return digest.hexdigest()


def _some(values: Iterable[Any], most: int = 5) -> str:
    shown = sorted(map(str, values))
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
