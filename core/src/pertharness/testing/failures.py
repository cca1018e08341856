"""Describe exceptions to authors of plugins: the text, and the lines of the traceback in the plugin's own files."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import traceback
from collections.abc import Iterator
from pathlib import Path

from pertharness.contract.errors import ContractError, Skip


@contextlib.contextmanager
def explained(module: str) -> Iterator[None]:
    """Turn errors of a plugin into `ContractError`, with the plugin's own lines of the traceback.

    Raises
    ------
    ContractError
        For any exception except `Skip` and errors of a full disk, which are not the plugin's fault.
    """
    try:
        yield
    except Skip:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        text = str(error) if isinstance(error, ContractError) else _text(error)
        raise ContractError("\n".join([text, *own_lines(error, module)])) from error


def _text(error: BaseException) -> str:
    """Return the class and the text of an exception, even if its ``__str__`` fails."""
    try:
        return "".join(traceback.format_exception_only(type(error), error)).strip()
    except Exception as other:  # noqa: BLE001 - str() runs the plugin's code
        return f"{type(error).__name__} (its text is not available: {type(other).__name__})"


def own_lines(error: BaseException, module: str) -> list[str]:
    """Return the lines of a traceback in files of the plugin, or else those of its cause."""
    roots = package_roots(module)
    current: BaseException | None = error
    while current is not None:
        frames = [
            frame for frame in traceback.extract_tb(current.__traceback__)
            if any(root in (Path(frame.filename), *Path(frame.filename).parents) for root in roots)
        ]  # fmt: skip
        if frames:
            return "".join(traceback.format_list(frames)).rstrip().splitlines()
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return []


def package_roots(module: str) -> list[Path]:
    """Return the folders of a plugin's package, or its single file, without importing it; none if it is missing."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):  # a parent package cannot be imported
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [Path(root) for root in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin else []
