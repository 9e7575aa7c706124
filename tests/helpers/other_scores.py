"""Registries of scores other than the package's own."""

from dataclasses import replace

from boardgame_sae.metrics import score as module
from boardgame_sae.registry import Registry


def only(monkeypatch, *known):
    """Let nothing but some scores be registered."""
    registry = Registry("score")
    for score in known:
        registry.add(score.name, score)
    monkeypatch.setattr(module, "_SCORES", registry)


def changed(monkeypatch, *, others=None, **changes):
    """Change fields of registered scores. others: of every score that is not named."""
    only(monkeypatch, *(replace(score, **changes.get(name, others or {})) for name, score in module.scores().items()))


def refuse(subject, cfg):
    """The function of a score that must not be computed."""
    raise AssertionError(f"computed for {subject.name} with {cfg}")
