"""locfdr beside the output of R's locfdr 1.1. Siblings on small data: test_locfdr, test_locfdr_thresholds."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from pertharness_scorers.locfdr import NoNull, locfdr, nearest_thresholds

REFERENCE = Path(os.environ.get("PERTHARNESS_SHARED", Path(__file__).parents[4] / "shared")) / "reference"
NULLS = {"0": "theoretical", "1": "mle", "2": "central_matching", "3": "split"}
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
OURS = "standard errors are not available"
STOPS = {
    "0 (non-NA) cases": "locfdr: 0 of .* bins lie between the quartiles",  # lm without a row
    "CM estimation failed.  Rerun with nulltype = 1.": "null='central_matching' cannot be estimated",
    "CM estimation failed.  Rerun with nulltype = 1 or 2.": "null='split' cannot be estimated",
    "ML estimation failed": "null='mle' cannot be estimated",
    "NA/NaN/Inf in 'x'": "the fit of a curve to the histogram ran away",  # glm.fit
    "inner loop": "the fit of a curve to the histogram ran away",  # glm.fit: cannot correct step size
}
"""What R's error holds, and what ours says of the same cause."""
pytestmark = pytest.mark.reference


def cases():
    path = REFERENCE / "locfdr_cases.json"
    if not path.exists():
        return [pytest.param("", "", marks=pytest.mark.skip(reason=f"no {path}; see PERTHARNESS_SHARED"))]
    table = json.loads(path.read_text(encoding="utf-8"))
    return [pytest.param(case, null, id=f"{case}-{null}") for case in table for null in table[case]["nulltypes"]]


@pytest.fixture(scope="module")
def load():
    loaded = {}

    def load_case(case):
        """The facts, the values and R's arrays."""
        if case not in loaded:
            facts = json.loads((REFERENCE / "locfdr_cases.json").read_text(encoding="utf-8"))[case]
            with np.load(REFERENCE / facts["zz_file"]) as source, np.load(REFERENCE / f"locfdr_{case}.npz") as arrays:
                loaded[case] = facts, np.tile(source["zz"], facts["rep"]), dict(arrays)
        return loaded[case]

    return load_case


def same(actual, expected, rtol=0.0, atol=1e-6):
    # R's NA is a signalling NaN: any arithmetic with it warns.
    expected = np.where(np.isnan(expected), np.nan, expected)
    np.testing.assert_allclose(np.asarray(actual, dtype=float), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize(("case", "null"), cases())
def test_every_number_is_that_of_r(load, case, null):
    facts, values, arrays = load(case)
    expected = facts["nulltypes"][null]
    if f"nt{null}_fp0" not in arrays:
        causes = [ours for theirs, ours in STOPS.items() if theirs in expected["error"]]
        assert causes, f"say in STOPS what stands for R's {expected['error']!r}"
        with pytest.raises(NoNull, match=causes[0]):
            locfdr(values, null=NULLS[null])
        return
    result = locfdr(values, null=NULLS[null])
    said = [text for text in result.warnings if not text.startswith(OURS)]
    # R prints 15 digits; the last depends on the order of a sum over all values.
    assert [NUMBER.sub("#", text) for text in said] == [NUMBER.sub("#", text) for text in expected["warnings"]]
    numbers = [
        [float(number) for text in texts for number in NUMBER.findall(text)] for texts in (said, expected["warnings"])
    ]
    np.testing.assert_allclose(*numbers, rtol=1e-10)
    if "glm.fit: algorithm did not converge" in expected["warnings"]:
        same(result.fp0.loc["mlest"], arrays[f"nt{null}_fp0"][2])
        return
    n = len(arrays[f"nt{null}_fdr"])
    same(result.fdr.reshape(-1, n), np.broadcast_to(arrays[f"nt{null}_fdr"], (len(values) // n, n)))
    same(list(result.efdr.values()), arrays[f"nt{null}_Efdr"])
    same(result.z2, arrays[f"nt{null}_z2"])
    same(result.cdf1, arrays[f"nt{null}_cdf1"])
    table = result.fp0.to_numpy()
    same(table[::2], arrays[f"nt{null}_fp0"][::2])
    errors = ~np.isnan(arrays[f"nt{null}_fp0"][1::2])
    same(table[1::2][errors], arrays[f"nt{null}_fp0"][1::2][errors])


@pytest.mark.parametrize(("case", "null"), cases())
def test_the_binned_table_is_that_of_r(load, case, null):
    facts, values, arrays = load(case)
    expected = facts["nulltypes"][null]
    if f"nt{null}_mat" not in arrays or "glm.fit: algorithm did not converge" in expected["warnings"]:
        return
    mat = locfdr(values, null=NULLS[null]).mat
    reference = dict(zip(mat.columns, arrays[f"nt{null}_mat"].T, strict=True))
    np.testing.assert_array_equal(mat["counts"], reference["counts"])
    np.testing.assert_array_equal(mat["x"], reference["x"])
    for column in ("fdr", "fdrtheo", "Fdrleft", "Fdrright", "f", "f0", "f0theo", "p1f1"):
        same(mat[column], reference[column], rtol=1e-6, atol=1e-8)
    known = ~np.isnan(reference["lfdrse"])
    same(mat["lfdrse"][known], reference["lfdrse"][known], rtol=1e-4)


@pytest.mark.parametrize(("case", "null"), cases())
def test_thresholds_are_those_of_the_published_code(load, case, null):
    facts, values, arrays = load(case)
    expected = facts["nulltypes"][null]
    if f"nt{null}_fdr" not in arrays or "glm.fit: algorithm did not converge" in expected["warnings"]:
        return
    result = locfdr(values, null=NULLS[null])
    thresholds = nearest_thresholds(values, result.fdr)
    by_r = np.array([expected["upper_thres"], expected["lower_thres"]], dtype=float)  # null: none
    np.testing.assert_array_equal([thresholds.upper, thresholds.lower], by_r)
    assert (thresholds.n_above, thresholds.n_below) == (expected["n_above"], expected["n_below"])
    by_r = np.array([expected["fdr_at_upper"], expected["fdr_at_lower"]], dtype=float)
    same([thresholds.rate_at_upper, thresholds.rate_at_lower], by_r)
    assert int((result.fdr <= 0.05).sum()) == expected["n_fdr_le_005"]
    assert int((result.fdr < 0.2).sum()) == expected["n_fdr_lt_02"]
