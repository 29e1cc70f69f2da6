"""A head put on: taken off and put on again it is the same file, and one that does not fit is refused in a sentence."""

import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from bench.random_gguf import write_random_llama
from bench.random_hybrid import write_random_hybrid
from tests.null.convert.test_dense_heads import CONFIG, dense_shapes
from tests.null.graft.test_detach import contents
from tests.support.checkpoints import random_arrays, write_folder
from tests.support.rewritten import read, rewritten

from outpace.convert.conversion import convert
from outpace.errors import ConfigError, ModelFileError, OutpaceError, UnsupportedError
from outpace.gguf.file import open_gguf
from outpace.gguf.types import GGMLType, ValueType
from outpace.gguf.writer import Typed, write_split
from outpace.graft.attach import attach
from outpace.graft.detach import detach
from outpace.models import load_plan

LLAMA = {"n_layers": 2, "d_model": 64, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "d_ff": 128, "vocab": 300}
HYBRID = {"d_model": 64, "head_dim": 16, "delta_dim": 16, "vocab": 300, "context": 512, "n_layers": 4}


def whole(arch, path):
    """Write a model with a head."""
    if arch == "qwen35":
        return write_random_hybrid(path, type="Q4_0", **HYBRID)
    return write_random_llama(path, arch=arch, type=GGMLType.Q4_0, mtp=True, **LLAMA)


@pytest.fixture(scope="module", params=["llama", "qwen3", "qwen35"])
def files(request, tmp_path_factory):
    """A model with a head, its trunk and its head."""
    at = tmp_path_factory.mktemp("files")
    detach(whole(request.param, at / "whole.gguf"), at / "trunk.gguf", at / "head.gguf")
    return {name: at / f"{name}.gguf" for name in ("whole", "trunk", "head")}


@pytest.mark.parametrize("donor", ["head", "whole"])
@pytest.mark.parametrize("n_parts", [1, 3])
def test_taken_off_and_put_on_it_is_the_same(files, tmp_path, donor, n_parts):
    trunk, head = files["trunk"], files[donor]
    if n_parts > 1:
        trunk = write_split(tmp_path / "trunk", *read(trunk), n_parts)[1]
        head = write_split(tmp_path / "head", *read(head), 2)[1]
    written = attach(trunk, head, tmp_path / "out.gguf")
    assert contents(tmp_path / "out.gguf") == contents(files["whole"])
    assert written.n_mtp == 1 and written.n_bytes == (tmp_path / "out.gguf").stat().st_size
    no_tokenizer = f"{head} has no tokenizer: only the number of tokens was compared, which is 300 in both"
    assert written.notes == ((no_tokenizer,) if donor == "head" else ())


@pytest.mark.parametrize("of", ["nextn.eh_proj.weight", "attn_norm.weight"])
def test_a_head_of_no_numbers_is_refused(files, tmp_path, of):
    with open_gguf(files["head"]) as file:
        (name,) = (each for each in file.tensors if each.endswith(of))
        values = np.ones(file.tensors[name].shape, np.float32)
    values.flat[-1] = np.nan
    broken = rewritten(files["head"], tmp_path, tensors={name: (GGMLType.F32, values.shape, values)})
    with pytest.raises(ModelFileError, match=re.escape(f"{broken}: tensor '{name}': rows ")):
        attach(files["trunk"], broken, tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


def test_a_base_with_a_head_is_shown_the_way_out(files, tmp_path):
    with pytest.raises(ConfigError, match=r"BASE is .*this one has MTP layers .`outpace graft detach` takes them off"):
        attach(files["whole"], files["head"], tmp_path / "out.gguf")
    with pytest.raises(ModelFileError, match="there is no head in this file"):
        attach(files["trunk"], files["trunk"], tmp_path / "out.gguf")
    with pytest.raises(ConfigError, match=r"--type is 'Q8_0'; expected none, as .* is a GGUF file"):
        attach(files["trunk"], files["head"], tmp_path / "out.gguf", type="Q8_0")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A model with a head whose tokens are listed, its trunk and its head."""
    at = tmp_path_factory.mktemp("llama")
    detach(whole("llama", at / "whole.gguf"), at / "trunk.gguf", at / "head.gguf")
    return {name: at / f"{name}.gguf" for name in ("whole", "trunk", "head")}


def changed_tokens(path, key, at, text):
    with open_gguf(path) as file:
        values = list(file.metadata.strs(f"tokenizer.ggml.{key}"))
    values[at] = text
    return {f"tokenizer.ggml.{key}": Typed(ValueType.STRING, values)}


def f32(*shape):
    return GGMLType.F32, shape, np.zeros(shape, np.float32)


KEYS = {
    "layers": ({"llama.block_count": 5}, "'llama.block_count': the head is for a trunk of 4 layers, and TRUNK has 2"),
    "width": ({"llama.embedding_length": 128}, "the head is for a width of 128, and TRUNK has 64"),
    "architecture": (
        {"general.architecture": "qwen3", "qwen3.block_count": 3, "qwen3.nextn_predict_layers": 1},
        "the head is for 'qwen3', and TRUNK is 'llama'",
    ),
    "vocabulary": ({"llama.vocab_size": 301}, "DONOR: its vocabulary: the head is for 301 tokens, and TRUNK has 300"),
}
TENSORS = {
    "shape": (
        {"blk.2.ffn_up.weight": f32(160, 64)},
        "",
        "DONOR: tensor 'blk.2.ffn_up.weight': expected shape [128, 64], found [160, 64]",
    ),
    "missing": ({}, "blk.2.nextn.hnorm.weight", "DONOR: tensor 'blk.2.nextn.hnorm.weight': the file does not have it"),
    "rows": (
        {"blk.2.nextn.embed_tokens.weight": f32(299, 64)},
        "",
        "'blk.2.nextn.embed_tokens.weight': has rows for 299 tokens, and the vocabulary of TRUNK is 300",
    ),
    "bias": ({"blk.2.ffn_up.bias": f32(128)}, "", "llama with the tensor 'blk.2.ffn_up.bias' is not supported"),
}


def refused(trunk, donor, out, sentence):
    """A head is refused in this sentence, and nothing is written."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(OutpaceError) as caught:
        attach(trunk, donor, out)
    assert sentence.replace("TRUNK", str(trunk)).replace("DONOR", str(donor)) in str(caught.value)
    assert "\n" not in str(caught.value) and sorted(out.parent.iterdir()) == before


@pytest.mark.parametrize("what", KEYS)
def test_a_head_with_other_numbers_is_refused(llama, tmp_path, what):
    keys, sentence = KEYS[what]
    refused(llama["trunk"], rewritten(llama["head"], tmp_path, keys), tmp_path / "out.gguf", sentence)


@pytest.mark.parametrize("what", TENSORS)
def test_a_head_with_other_tensors_is_refused(llama, tmp_path, what):
    more, without, sentence = TENSORS[what]
    donor = rewritten(llama["head"], tmp_path, None, more, without)
    refused(llama["trunk"], donor, tmp_path / "out.gguf", sentence)


def test_a_head_for_other_tokens_is_refused(llama, tmp_path):
    for key, sentence in (
        ("tokens", "'tokenizer.ggml.tokens': token 30 of the head's tokenizer is 'other', and in TRUNK it is "),
        ("merges", "'tokenizer.ggml.merges': merge 30 of the head's tokenizer is 'other', and in TRUNK it is "),
    ):
        donor = rewritten(llama["whole"], tmp_path, changed_tokens(llama["whole"], key, 30, "other"))
        refused(llama["trunk"], donor, tmp_path / "out.gguf", sentence)
    donor = rewritten(llama["whole"], tmp_path, {"tokenizer.ggml.model": "llama"})
    refused(
        llama["trunk"], donor, tmp_path / "out.gguf", "a tokenizer of the kind 'llama', and that of TRUNK is 'gpt2'"
    )
    with open_gguf(llama["whole"]) as file:
        fewer = Typed(ValueType.STRING, file.metadata.strs("tokenizer.ggml.merges")[:-1])
    donor = rewritten(llama["whole"], tmp_path, {"tokenizer.ggml.merges": fewer})
    n = len(fewer.value)
    refused(llama["trunk"], donor, tmp_path / "out.gguf", f"tokenizer has {n} merges, and that of TRUNK has {n + 1}")


def test_what_is_said_of_a_head_that_fits(llama, tmp_path):
    donor = rewritten(
        llama["head"],
        tmp_path,
        {"llama.vocab_size": None, "llama.rope.freq_base": 5.0, "general.name": "other"},
        {"blk.2.extra.weight": f32(3), "output.weight": f32(300, 64)},
    )
    written = attach(llama["trunk"], donor, tmp_path / "out.gguf")
    assert written.notes == (
        f"{donor} does not say what its tokens are: nothing was compared",
        f"llama.rope.freq_base is 10000.0 here and 5.0 in {donor}: the model's holds",
        "nothing reads blk.2.extra.weight of the head; copied all the same",
    )
    keys, tensors = contents(tmp_path / "out.gguf")
    expected, own = contents(llama["whole"])
    assert keys == expected and tensors.keys() == own.keys() | {"blk.2.extra.weight"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a head, its model in F16 without one, and the tensors of the folder."""
    at, arrays = tmp_path_factory.mktemp("folder"), random_arrays(dense_shapes("llama"))
    config = CONFIG | {"model_type": "llama"}
    convert(write_folder(at / "m", config, arrays), at / "trunk.gguf", type="F16", mtp="none")
    return at, config, arrays


@pytest.mark.parametrize("kind", [None, "Q4_0", "F32"])
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_folder_gives_its_head_in_a_type(folder, tmp_path, kind, is_whole):
    at, config, arrays = folder
    source = at / "m"
    if not is_whole:
        head = {name: array for name, array in arrays.items() if name.startswith("mtp.")}
        source = write_folder(tmp_path / "head", config, head)
    written = attach(at / "trunk.gguf", source, tmp_path / "out.gguf", type=kind, n_threads=2)
    convert(at / "m", tmp_path / "as.gguf", type=kind or "Q8_0")
    found, trunk = contents(tmp_path / "out.gguf"), contents(at / "trunk.gguf")
    _, rounded = contents(tmp_path / "as.gguf")
    assert found[1] == trunk[1] | {name: each for name, each in rounded.items() if name.startswith("blk.2.")}
    counts = {
        "llama.block_count": (ValueType.UINT32, None, 3),
        "llama.nextn_predict_layers": (ValueType.UINT32, None, 1),
    }
    assert found[0] == trunk[0] | counts
    assert written.notes and "only the number of tokens was compared, which is 40 in both" in written.notes[0]
    with open_gguf(tmp_path / "out.gguf") as file:
        assert load_plan(file).draft is not None
    assert {path.name for path in tmp_path.iterdir()} - {"head"} == {"out.gguf", "as.gguf"}


def test_folders_that_do_not_fit(folder, tmp_path):
    at, config, arrays = folder
    head = {name: array for name, array in arrays.items() if name.startswith("mtp.")}
    out = tmp_path / "out.gguf"

    def of(name, changes=None, **tensors):
        return write_folder(tmp_path / name, config | (changes or {}), head | tensors)

    none = write_folder(tmp_path / "none", config, {name: a for name, a in arrays.items() if name not in head})
    refused(at / "trunk.gguf", none, out, "DONOR: there is no head in this folder")
    refused(
        at / "trunk.gguf", of("deep", {"num_hidden_layers": 3}), out, "DONOR: metadata 'llama.block_count': the head"
    )
    refused(
        at / "trunk.gguf", of("more", **{"mtp.x.weight": head["mtp.norm.weight"]}), out, "is not known to have: mtp.x"
    )
    refused(at / "trunk.gguf", of("kv", {"num_key_value_heads": 4}), out, "expected shape [32, 32], found [16, 32]")
    wide = {f"mtp.layers.0.mlp.{n}_proj.weight": np.zeros((64, 32), np.float32) for n in ("gate", "up")}
    wide["mtp.layers.0.mlp.down_proj.weight"] = np.zeros((32, 64), np.float32)
    donor = of("wide", {"intermediate_size": 64}, **wide)
    refused(at / "trunk.gguf", donor, out, "DONOR: tensor 'blk.2.ffn_gate.weight': expected shape [48, 32], found [64")
    refused(at / "trunk.gguf", of("v", {"vocab_size": 41}), out, "the head is for 41 tokens, and TRUNK has 40")
    with pytest.raises(ConfigError, match="--type is 'Q4'; expected one of F32"):
        attach(at / "trunk.gguf", of("type"), out, type="Q4")
    with pytest.raises(UnsupportedError, match="converting a model of model_type 'gpt2'"):
        attach(at / "trunk.gguf", of("kind", {"model_type": "gpt2"}), out)
    assert not out.exists()


@pytest.mark.parametrize("after", [0, 3, 20])
@pytest.mark.parametrize("is_folder", [False, True])
def test_an_interrupt_leaves_nothing(llama, folder, tmp_path, after, is_folder):
    n = 0

    def interrupt(*_):
        nonlocal n
        n += 1
        if n > after:
            raise KeyboardInterrupt

    trunk, donor = (folder[0] / "trunk.gguf", folder[0] / "m") if is_folder else (llama["trunk"], llama["head"])
    with pytest.raises(KeyboardInterrupt):
        attach(trunk, donor, tmp_path / "out.gguf", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_base_may_be_replaced(llama, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(llama["trunk"].read_bytes())
    with pytest.raises(ConfigError, match=re.escape("(--force replaces it)")):
        attach(path, llama["head"], path)
    attach(path, llama["head"], path, is_forced=True)
    assert contents(path) == contents(llama["whole"])


def test_what_a_killed_run_left_goes_with_the_next(folder, tmp_path):
    at, _, _ = folder
    code = (
        "import os, signal, sys; from pathlib import Path; from outpace.graft.attach import attach\n"
        "def die(what, done, total): done > 0 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "attach(*map(Path, sys.argv[1:]), progress=die)"
    )
    given = [at / "trunk.gguf", at / "m", tmp_path / "out.gguf"]
    killed = subprocess.run([sys.executable, "-c", code, *map(str, given)], check=False)
    assert killed.returncode == -signal.SIGKILL and list(tmp_path.iterdir())
    attach(*given)
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]
