"""A Ray cluster that is joined, or started on this machine; terminal and signals stay ours."""

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from defectseg.errors import ConfigError, DefectsegError
from defectseg.processor import count_cores
from defectseg.quiet import quiet_stderr

_REACHED_WITHIN_S = 10


@contextmanager
def join_cluster() -> Iterator[None]:
    """Join the cluster at ``RAY_ADDRESS`` for a block, else start one on this machine.

    Raises
    ------
    DefectsegError
        If there is none, or none can be started.
    """
    with ExitStack() as stack:
        stack.enter_context(_quiet_core())
        if not ray.is_initialized():
            heed_sigterm = stack.enter_context(_own_handlers())
            stack.callback(ray.shutdown)
            connect(os.environ.get("RAY_ADDRESS", ""))
            heed_sigterm()
        yield


def connect(address: str) -> None:
    """Join the cluster at an address; start one if there is none, or it is "local"."""
    if address and address != "local":
        _check_reachable(address)
        where: dict[str, Any] = {"address": address}
    else:
        where = {"address": "local", "num_cpus": count_cores(), "include_dashboard": False}
    try:
        with quiet_stderr():  # it tells that it was told to be quiet
            ray.init(**where, log_to_driver=False, logging_level=logging.CRITICAL)
    except (RayError, OSError, RuntimeError, ValueError) as error:
        raise DefectsegError(
            f"Ray cannot be started, or joined: {' '.join(str(error).split())}"
        ) from error


def _check_reachable(address: str) -> None:
    """Check that something listens there: Ray itself would try for minutes."""
    if "://" in address:
        raise ConfigError(
            f"RAY_ADDRESS={address}: Ray Data does not run through a client's connection; expected "
            "HOST:PORT of the cluster, on one of whose nodes this is run."
        )
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return  # "auto": Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHED_WITHIN_S).close()
    except OSError as error:
        raise DefectsegError(
            f"RAY_ADDRESS={address}: no Ray cluster can be reached there ({error}). Without "
            "RAY_ADDRESS one is started here."
        ) from error


@contextmanager
def _own_handlers() -> Iterator[Callable[[], None]]:
    """Put back in the end the handlers of this process that Ray replaces, and leaves so.

    Yields what is to be called once it has: Ray's own would print the stacks of a process that is
    told to end. Where nobody handled it, Ray's processes are ended first.
    """
    terminated = signal.getsignal(signal.SIGTERM)
    dumps = faulthandler.is_enabled()
    # Elsewhere than in the main thread Ray has no handler in Python, and nobody can have.
    ours = terminated is not None and threading.current_thread() is threading.main_thread()

    def heed_sigterm() -> None:
        if ours:
            own = _end if terminated is signal.SIG_DFL else terminated
            signal.signal(signal.SIGTERM, own)

    try:
        yield heed_sigterm
    finally:
        if ours:
            signal.signal(signal.SIGTERM, terminated)
        if not dumps:
            faulthandler.disable()


def _end(number: int, frame: object) -> None:
    sys.exit(128 + number)  # as a shell tells it


@contextmanager
def _quiet_core() -> Iterator[None]:
    """Keep Ray from writing to the terminal; what it has to say is in its logs."""
    # That a worker died is printed, by a thread that no setting stops. In another version of Ray
    # this may be elsewhere: then it is printed.
    core: Any = getattr(getattr(ray, "_private", None), "worker", None)
    printing = getattr(core, "print_to_stdstream", None)
    if printing is None:
        yield
        return
    core.print_to_stdstream = lambda *args, **named: None
    try:
        yield
    finally:
        core.print_to_stdstream = printing
