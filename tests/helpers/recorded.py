"""`do_group`, for the workers of a Ray cluster, that writes down on which node it begins and ends."""

import os

import ray

from boardgame_sae.pipeline.engines import groups

RECORD = "TEST_RECORD"
"""The environment variable that names the file."""


def do_group(job):
    node = ray.get_runtime_context().get_node_id()
    _write(f"{node} began {job.group.hook_name} {[one.sae.seed for one in job.group.planned]}")
    failures = groups.do_group(job)
    _write(f"{node} ended {job.group.hook_name} {[one.sae.seed for one in job.group.planned]}")
    return failures


def _write(line):
    with open(os.environ[RECORD], "a") as file:
        file.write(line + "\n")
