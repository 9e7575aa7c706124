"""Folders that are shared, here and on a stand-in of the hub: what comes back, what is refused, what the card says."""

import re
import subprocess
import sys

import pytest
import torch
import yaml
from local_hub import LocalHub

import boardgame_sae as bgs
from boardgame_sae.cli import main
from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError, read_json
from boardgame_sae.metrics.results import Scores, ScoreValue
from boardgame_sae.model.exchange.hub import HubName, called, parse_hub_name
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.runs.integrity import DONE_FILE, content_of, damaged_files
from boardgame_sae.saes.registry import architectures, make_sae, sae_class
from boardgame_sae.saes.sae import SAE
from boardgame_sae.testbeds.shipped import find_testbed
from boardgame_sae.testbeds.testbed import Testbed, load_testbed

TOKEN = "hf_secret_0123456789"
SCORES = {"coverage": ScoreValue(0.5, (0.25, 0.75), {}, {}), "loss": ScoreValue(2.0, None, {}, {})}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    return LocalHub(tmp_path / "of-the-hub").install(monkeypatch)


@pytest.fixture
def sae():
    sae = make_sae("topk", d_model=8, n_latents=16, k=3, seed=4)
    sae.metadata = {"hook_name": "blocks.1.hook_resid_post", "game": "othello4", "inference": {"l0": 3.0}}
    return sae


@pytest.fixture
def testbed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, n_games=10)


def front_matter(folder):
    fields, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", (folder / "README.md").read_text(), re.DOTALL).groups()
    return yaml.safe_load(fields), body


def texts(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", architectures())
def test_an_sae_of_every_architecture_comes_back(name, tmp_path):
    sae = make_sae(name, **{"d_model": 12, "n_latents": 40, **sae_class(name).example})
    x_ND = torch.randn(64, 12, generator=torch.Generator().manual_seed(0))
    sae.calibrate([x_ND])
    folder = sae.save_pretrained(tmp_path / "shared")
    back = type(sae).from_pretrained(folder)
    assert torch.equal(back.encode(x_ND), sae.inference().encode(x_ND))
    assert torch.equal(SAE.from_pretrained(str(folder)).W_dec, back.W_dec)
    assert {path.suffix for path in folder.iterdir()} <= {".safetensors", ".json", ".md", ""}
    assert back.trained_as["architecture"] == name and name in front_matter(folder)[0]["tags"]


def test_a_gpt_comes_back_with_the_same_logits(tiny_model, tmp_path):
    folder = tiny_model.save_pretrained(tmp_path / "gpt", scores={"legal_rate": 0.75, "split": "test"}, license="mit")
    back = GameModel.from_pretrained(folder, device="cpu")
    tokens_BL = torch.randint(0, back.gpt.cfg.d_vocab, (3, 5))
    assert torch.equal(back.gpt(tokens_BL), tiny_model.gpt(tokens_BL))
    assert (back.hash, back.content) == (tiny_model.hash, tiny_model.content)
    fields, body = front_matter(folder)
    assert (fields["license"], fields["metrics"], fields["library_name"]) == ("mit", ["legal_rate"], "boardgame_sae")
    assert "- layers, width, heads: 2, 16, 2" in body and "- legal_rate: 0.7500\n" in body and "split" not in body


def test_a_testbed_comes_back_as_the_same_testbed(testbed, tmp_path):
    folder = testbed.save_pretrained(tmp_path / "testbed")
    back = Testbed.from_pretrained(folder, device="cpu")
    assert back.content == testbed.content and back.identity == testbed.identity
    assert (back.labels("test") == testbed.labels("test")).all()
    assert torch.equal(back.activations("test"), testbed.activations("test"))
    assert load_testbed(folder, "cpu").hash == testbed.hash
    assert main(["check", str(folder), "--device", "cpu"]) == 0


def test_a_shipped_testbed_brings_its_probes(tmp_path):
    shipped = Testbed.from_pretrained("othello6-tiny", device="cpu")
    back = Testbed.from_pretrained(shipped.save_pretrained(tmp_path / "copy"), device="cpu")
    assert back.content == shipped.content and back.probes.keys() == shipped.probes.keys() != set()


def test_what_ships_is_found_by_its_name():
    assert SAE.from_pretrained("othello6-tiny/topk-16").cfg.k == 16


def test_the_card_says_what_it_is_and_its_code_opens_it(sae, tmp_path):
    folder = sae.save_pretrained(tmp_path / "shared", scores=Scores({"name": "mine", "kind": "sae"}, SCORES))
    fields, body = front_matter(folder)
    assert fields["library_name"] == "boardgame_sae" and fields["license"] == "unknown"
    assert {"sparse-autoencoder", "topk"} <= set(fields["tags"]) and fields["metrics"] == ["coverage", "loss"]
    for line in (
        "architecture: topk", "width of the activations: 8", "latents: 16", "k: 3", "game: othello4",
        "hook point: blocks.1.hook_resid_post", "at inference: l0: 3", "coverage: 0.5000 [0.2500, 0.7500]",
        "loss: 2.0000",
    ):  # fmt: skip
        assert f"- {line}\n" in body, line
    (code,) = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    names = {}
    exec(code.replace("FOLDER", str(folder)), names)
    assert torch.equal(names["sae"].W_enc, sae.W_enc)


def test_scores_beside_an_sae_are_a_source_of_tables(sae, tmp_path, hub, monkeypatch):
    scores = Scores.load(find_testbed("othello6-tiny") / "scores" / "topk-16")
    sae.push_to_hub("someone/with-scores", scores=scores)
    (row,) = bgs.results("hf:someone/with-scores").select("name, coverage").fetchall()
    assert row == ("topk-16", scores["coverage"].value)


def test_it_replaces_what_was_shared_before_and_nothing_else(sae, tmp_path):
    folder = sae.save_pretrained(tmp_path / "shared", scores=Scores({"name": "mine", "kind": "sae"}, SCORES))
    first = content_of(folder)
    (folder / "notes.txt").write_text("mine")
    other = make_sae("relu", d_model=8, n_latents=4)
    other.save_pretrained(folder)
    assert SAE.from_pretrained(folder).cfg.n_latents == 4 and content_of(folder) != first
    assert not (folder / "scores.json").exists() and (folder / "notes.txt").read_text() == "mine"
    own = tmp_path / "own"
    sae.save(own)
    with pytest.raises(RunError, match=r"own: holds cfg\.json, which was not shared from here; give an empty folder"):
        sae.save_pretrained(own)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file: a file; give a folder"):
        sae.save_pretrained(tmp_path / "file")


def test_an_interrupted_one_can_be_written_again(sae, tmp_path, monkeypatch):
    folder = sae.save_pretrained(tmp_path / "shared")
    with monkeypatch.context() as patch:
        patch.setattr(SAE, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sae.save_pretrained(folder)
    with pytest.raises(RunError, match=r"sae\.safetensors: no such file|no SAE"):
        SAE.from_pretrained(folder)
    assert SAE.from_pretrained(sae.save_pretrained(folder)).cfg.k == 3


@pytest.mark.parametrize("name", ["sae.safetensors", "cfg.json", "run.json"])
def test_every_file_but_the_card_is_checked(sae, tmp_path, hub, name):
    folder = sae.save_pretrained(tmp_path / "shared")
    sae.push_to_hub("someone/an-sae")
    for place, source in ((folder, folder), (hub.repository("someone/an-sae"), "hf:someone/an-sae")):
        (place / "README.md").write_text("edited on the hub")
        assert SAE.from_pretrained(source).cfg.k == 3 and damaged_files(place) == []
        data = (place / name).read_bytes()
        (place / name).write_bytes(data.replace(b"3", b"4", 1) if name != "sae.safetensors" else data[:-1] + b"\1")
        with pytest.raises(RunError, match=rf"{re.escape(name)}: changed since it was written"):
            SAE.from_pretrained(source)
        (place / name).unlink()
        with pytest.raises(RunError, match=name):
            SAE.from_pretrained(source)


def test_things_go_to_the_hub_and_come_back(sae, tiny_model, testbed, hub):
    assert sae.push_to_hub("someone/an-sae") == "https://hub/someone/an-sae"
    tiny_model.push_to_hub("someone/a-gpt", license="mit")
    testbed.push_to_hub("hf:someone/a-testbed")
    assert torch.equal(type(sae).from_pretrained("someone/an-sae").W_enc, sae.W_enc)
    assert torch.equal(bgs.load_sae("hf:someone/an-sae").W_enc, sae.W_enc)
    for open_gpt in (GameModel.from_pretrained, GameModel.load):
        assert open_gpt("hf:someone/a-gpt", device="cpu").content == tiny_model.content
    for open_testbed in (Testbed.from_pretrained, load_testbed):
        assert open_testbed("hf:someone/a-testbed", device="cpu").content == testbed.content
    assert 'bgs.load_sae("hf:someone/an-sae")\n' in (hub.repository("someone/an-sae") / "README.md").read_text()


def test_revision_and_privacy_are_passed_on_and_the_token_is_written_nowhere(sae, hub, tmp_path):
    make_sae("relu", d_model=8, n_latents=4).push_to_hub("someone/x", private=True, token=TOKEN)
    assert hub.calls["create_repo"]["private"] is True and hub.calls["HfApi"] == {"token": TOKEN}
    sae.push_to_hub("someone/x", revision="v2", token=TOKEN, commit_message="Better")
    assert hub.calls["upload_folder"]["revision"] == "v2" and hub.calls["upload_folder"]["commit_message"] == "Better"
    assert SAE.from_pretrained("someone/x").cfg.n_latents == 4
    for source, how in (("someone/x", {"revision": "v2"}), ("someone/x@v2", {}), ("hf:someone/x@v2", {"token": TOKEN})):
        assert SAE.from_pretrained(source, **how).cfg.n_latents == 16
    assert hub.calls["snapshot_download"]["token"] == TOKEN
    assert bgs.load_sae("hf:someone/x@v2").cfg.n_latents == 16
    with pytest.raises(ConfigError, match="names a revision itself"):
        SAE.from_pretrained("someone/x@v2", revision="v1")
    assert TOKEN.encode() not in texts(tmp_path)


def test_a_folder_inside_a_repository_is_downloaded_alone(hub):
    for name, n_latents in (("a", 4), ("b", 6)):
        make_sae("relu", d_model=8, n_latents=n_latents).save(hub.repository("someone/many") / name)
    assert bgs.load_sae("hf:someone/many/b").cfg.n_latents == 6
    assert hub.calls["snapshot_download"]["allow_patterns"] == ["b", "b/*"]
    with pytest.raises(RunError, match=r"give one of them: a, b"):
        bgs.load_sae("hf:someone/many")
    with pytest.raises(RunError, match="the repository someone/many has no 'c'"):
        bgs.load_sae("hf:someone/many/c")


def test_a_folder_here_goes_before_the_hubs_of_the_same_name(sae, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sae.push_to_hub("someone/x")
    make_sae("relu", d_model=8, n_latents=4).save_pretrained("someone/x")
    assert SAE.from_pretrained("someone/x").cfg.n_latents == 4
    assert SAE.from_pretrained("hf:someone/x").cfg.n_latents == 16
    (tmp_path / "someone/x" / "cfg.json").write_text("{}")
    with pytest.raises(RunError, match=r"changed.*the folder here was opened; hf:someone/x would be the hub's"):
        SAE.from_pretrained("someone/x")


def test_errors_say_where_it_was_looked_for(hub):
    with pytest.raises(RunError, match=r"no/one: no such folder here; hf:no/one: cannot be downloaded .*404"):
        SAE.from_pretrained("no/one")
    with pytest.raises(RunError, match=r"^hf:no/one: cannot be downloaded"):
        Testbed.from_pretrained("hf:no/one")
    for name in ("nothing", "data/runs/sae/mistyped", "../x", "/nowhere/at/all"):
        hub.calls.clear()
        with pytest.raises(RunError, match="no such folder here, and no name on the hub"):
            GameModel.from_pretrained(name)
        assert not hub.calls, "nothing is asked of the hub"
    for name in ("hf:one", "hf:a/b/../../c", "hf:", "hf:a b/c", "hf:a/b@v@w"):
        with pytest.raises((ConfigError, RunError), match="no name on the hub"):
            bgs.load_sae(name)
    for repo_id in ("mine", "a/b/c", "a/b@v"):
        with pytest.raises(ConfigError, match=r"owner/name"):
            make_sae("relu", d_model=8, n_latents=4).push_to_hub(repo_id)


def test_a_hub_that_refuses_is_one_clear_error(sae, hub, monkeypatch):
    import huggingface_hub

    def refuse(*_, **__):
        raise OSError("no network\nand a long story")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    with pytest.raises(RunError, match=r"^hf:a/b: cannot be uploaded to the Hugging Face hub \(no network\)$"):
        sae.push_to_hub("a/b")


def test_names_of_the_hub():
    assert parse_hub_name("hf:a/b@v1/c/d") == HubName("a/b", "v1", "c/d") == parse_hub_name("a/b@v1/c/d/")
    assert str(HubName("a/b", "v1", "c/d")) == "hf:a/b@v1/c/d"
    for text in ("a", "a/", "/a/b", "./a", "~/a", "a//b", "C:/x/y", "a/b--c", "hf:hf:a/b"):
        assert parse_hub_name(text) is None, text


def test_commands_take_a_name_on_the_hub_and_call_it_by_that_name(hub, tmp_path, monkeypatch, capsys, testbed):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    make_sae("topk", d_model=16, n_latents=8, k=2).push_to_hub("someone/small-sae")
    testbed.push_to_hub("someone/small-testbed")
    words = ["latent", "hf:someone/small-sae", "1", "--testbed", "hf:someone/small-testbed", "--device", "cpu"]
    assert main(words) == 0, capsys.readouterr().err
    (made,) = (tmp_path / "runs" / "latent").iterdir()
    assert made.name.startswith("small-sae-1-")
    assert main(["export", "hf:someone/small-sae", "--out", str(tmp_path / "export")]) == 0
    assert read_json(tmp_path / "export" / DONE_FILE)["files"]
    assert main(["check", "hf:someone/small-testbed", "--device", "cpu"]) == 0
    assert main(["score", "hf:no/one", "--testbed", "hf:someone/small-testbed"]) == 1
    assert "hf:no/one: cannot be downloaded" in capsys.readouterr().err
    snapshot = next((hub.root / "cache" / "models--someone--small-sae" / "snapshots").iterdir())
    assert called(snapshot) == "small-sae" and called(tmp_path / "topk-16") == "topk-16"


def test_the_extra_is_named_where_the_library_is_missing(tmp_path):
    code = """
import sys
sys.modules["huggingface_hub"] = None
import boardgame_sae as bgs
sae = bgs.make_sae("relu", d_model=4, n_latents=4)
type(sae).from_pretrained(sae.save_pretrained("here"))
for work in (lambda: bgs.load_sae("hf:a/b"), lambda: type(sae).from_pretrained("a/b"), lambda: sae.push_to_hub("a/b")):
    try:
        work()
    except RuntimeError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("not installed: pip install 'boardgame-sae[hugging-face]'") == 3
