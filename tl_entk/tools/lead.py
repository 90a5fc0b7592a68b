"""One process leads, the others follow: its heavy calls are made by all of them.

A command reads files, chooses and judges in the first process alone. What takes long is split
over all: the leader sends a call's arguments, the followers make the same call on their copy of
the model, and examples are split inside (see :mod:`tl_entk.tools.ranks`).
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from functools import wraps
from importlib import import_module
from inspect import signature
from typing import Any, TypeVar, cast

import torch

from feature_sets.errors import UserError
from tl_entk.tools.ranks import Ranks, split_over_ranks

Function = TypeVar("Function", bound=Callable[..., Any])


class _Leader:
    """What the first process knows of its followers."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        # whether they may still be waiting for each other in the middle of a call
        self.lost = False


_leader: ContextVar[_Leader | None] = ContextVar("leader", default=None)


def on_all_ranks(function: Function) -> Function:
    """A function of a ``model`` that all processes run when the first one calls it.

    Where nobody leads, or an argument beside the model cannot be sent (a function without a name),
    it is the function itself.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        leader = _leader.get()
        if leader is None:
            return function(*args, **kwargs)
        arguments = signature(function).bind(*args, **kwargs).arguments
        others = {name: value for name, value in arguments.items() if name != "model"}
        sent = (function.__module__, function.__qualname__, others)
        if not _can_be_sent(sent):
            return function(*args, **kwargs)
        token = _leader.set(None)  # what it calls itself, its followers call too
        try:
            leader.ranks.from_first(sent)
            with split_over_ranks(leader.ranks.group):
                return function(*args, **kwargs)
        except UserError:  # a refusal: the followers have met the same
            raise
        except BaseException:
            leader.lost = True
            raise
        finally:
            _leader.reset(token)

    return cast(Function, call)


def _can_be_sent(values: Any) -> bool:
    try:
        pickle.dumps(values)
    except (AttributeError, TypeError, pickle.PicklingError):
        return False
    return True


@contextmanager
def lead(ranks: Ranks) -> Iterator[None]:
    """Inside, calls of functions that are ``on_all_ranks`` are made by all processes.

    Args:
        ranks: the processes, of which this is the first.
    """
    leader = _Leader(ranks)
    token = _leader.set(leader)
    try:
        yield
    finally:
        _leader.reset(token)
        if not leader.lost:
            ranks.from_first(None)


def follow(ranks: Ranks, load_model: Callable[[], torch.nn.Module]) -> None:
    """Make the leader's calls until it has no more.

    Args:
        ranks: the processes, of which this is not the first.
        load_model: gives this process its copy of the model, when the first call comes.
    """
    model = None
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), split_over_ranks(ranks.group):
        while True:
            call: Any = ranks.from_first(None)
            if call is None:
                return
            module, name, arguments = call
            model = load_model() if model is None else model
            with suppress(UserError):  # the leader says it
                getattr(import_module(module), name)(model=model, **arguments)
