"""For each verb, a command line that takes seconds. A verb without one is a fault, which the table says.

Every command stands in a folder of its own, in which `setup` is the tiny setup, and writes into `out` and `runs`.
"""

from boardgame_sae.cli import verbs

_GPT = "--n-layers 1 --d-model 8 --n-heads 2 --n-steps 4 --batch-size 4 --log-every 1 --eval-every 2"
_SAE = "--architecture topk --k 4 --n-latents 16 --n-activations 256 --n-harvested 300 --batch-size 64 --log-every 1"
_TUNED = "--n-steps 4 --batch-size 2 --n-test-tokens 50 --log-every 1"
SCENARIOS = {
    "generate": "--game othello4 --n-games 30 --out out",
    "import-pgn": "setup/games.pgn setup/games.pgn.zst --out out",
    "import-games": "setup/games.txt --game othello4 --out out",
    "annotate": "setup/chess --engine search:depth=1 --n-games 2 --out out",
    "tournament": "random epsilon_greedy:epsilon=0.5 --game othello4 --n-games 2 --out out",
    "train-gpt": f"--corpus setup/corpus {_GPT} --device cpu --out out",
    "testbed": "--model setup/gpt --corpus setup/corpus --n-games 10 --device cpu --out out",
    "probe": "--testbed setup/testbed --n-train-games 16 --n-test-games 10 --games-a-step 8 --device cpu --out out",
    "train-sae": f"--testbed setup/testbed {_SAE} --device cpu --out out",
    "finetune-sae": f"setup/sae --testbed setup/testbed {_TUNED} --device cpu --out out",
    "sweep": "setup/study.yaml --device cpu --out out",
    "study": "meta_sae --testbed setup/testbed --config setup/meta_sae.yaml --device cpu --out out",
    "pack": "setup/study.yaml --device cpu --out out",
    "score": "setup/sae --testbed setup/packed --suite quick --device cpu",
    "judge": "setup/sae --testbed setup/packed --url http://localhost:1/v1 --model none --dry-run --device cpu",
    "latent": "setup/sae 3 --testbed setup/packed --device cpu --out out",
    "compare": "setup/scores --against setup/scores --out out",
    "edit": "--testbed setup/packed --moves b1 --square b1 --to yours --device cpu",
    "steer": "--testbed setup/packed --toward b1_yours --moves b1 --device cpu",
    "report": "setup/packed --out out",
    "results": "upload-ready setup/scores --out out/scores.parquet",
    "ls": "",
    "check": "setup/corpus --device cpu",
    "export": "setup/sae --to sae_lens --out out",
    "import": "setup/nanogpt --out out",
    "completion": "bash",
}
HAVE_WORKERS = ("generate", "import-pgn", "annotate", "tournament", "sweep", "pack")
"""Verbs that divide their work among processes."""


def scenario(verb: str) -> list[str]:
    """The words of a verb's command. Raises KeyError for a verb without one."""
    return [verb, *SCENARIOS[verb].split()]


def without_scenario() -> list[str]:
    """Registered verbs that are not tried."""
    return [name for name in verbs() if name not in SCENARIOS]
