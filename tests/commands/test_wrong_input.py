"""Wrong input over the command line: each is one line that says what to change, before any work."""

import shlex

import datasets  # noqa: F401  its log has the stderr of its import, which must not be a test's
import pytest

from tl_entk.tools.files import write_kept
from tl_entk.tools.threads import set_threads

pytestmark = pytest.mark.plain

LANGUAGE = {
    # text
    "--column nope": "column 'nope' is of a data set, and the text is sampled",
    "--split nope": "split 'nope' is of a data set, and the text is sampled",
    "--label topic=topic": "label 'topic' is of a data set, and the text is sampled",
    "--dataset stories.txt --column nope": "has no column 'nope': pass column=, one of",
    "--dataset rows.jsonl --column nope": "has no column 'nope': pass column=, one of",
    "--dataset rows.jsonl --label kind=nope": "rows.jsonl has no column 'nope'; there are ['topic'",
    "--dataset rows.jsonl --column topic": "text 0 of rows.jsonl is a int",
    "--dataset gaps.jsonl --missing refuse": "text 0 of gaps.jsonl is missing",
    "--dataset gaps.jsonl --missing drop": "--missing 'drop': pass skip or refuse",
    "--dataset empty.txt": "empty.txt is empty",
    "--dataset empty.jsonl": "empty.jsonl is empty",
    "--dataset latin.txt": "save it in UTF-8",
    "--dataset broken.jsonl": "broken.jsonl broke at text 0",
    "--dataset broken.txt.gz": "no whole gzip file",
    "--dataset broken.parquet": "cannot read broken.parquet",
    "--dataset nothing.txt": "no file or folder 'nothing.txt'",
    "--dataset nothing.TSV": "no file or folder 'nothing.TSV'",
    "--dataset ./nothing": "no file or folder './nothing'",
    "--dataset a/b/c": "no file or folder 'a/b/c'",
    "--dataset nobody/nothing": "no connection to",
    "--dataset folder": "the folder folder has no data",
    "--dataset splits --split nope": "with split='nope'",
    "--max-texts 0": "max_texts = 0: pass 1 or more",
    "--max-texts -3": "max_texts = -3: pass 1 or more",
    "--sampled 0": "count from 1",
    "--length 0": "count from 1",
    "--per-tag 0": "count from 1",
    "--per-tag 7": "pass 8 or more",
    "--per-story 0": "count from 1",
    "--k 0": "count from 1",
    "--k -1": "count from 1",
    "--outputs 0": "count from 1",
    "--seed -1": "seed = -1",
    "--tol 0": "between 0 and 1",
    "--tol 1": "between 0 and 1",
    "--tol nan": "between 0 and 1",
    "--tol inf": "between 0 and 1",
    "--model gemma-3-270m": "pass --dataset",
    "--model ''": "pass --dataset",
    "--pipeline en_nothing": "no spaCy pipeline 'en_nothing'",
    "--pipeline folder": "no spaCy pipeline 'folder'",
    # labels
    "--label x": "pass NAME=COLUMN or NAME=PATTERN",
    "--label =x": "pass NAME=COLUMN or NAME=PATTERN",
    "--label x=": "pass NAME=COLUMN or NAME=PATTERN",
    "--label x=[{": "the pattern is no JSON",
    "--label x={}": "no list of descriptions",
    """--label 'x={"POS": "ADJ"}'""": "no list of descriptions",
    "--label x=[]": "no list of descriptions",
    "--label x=[1]": "no list of descriptions",
    """--label 'x=[{"NOPE": 1}]'""": "spaCy's matcher does not take the pattern",
    """--label 'x=[{"POS": 3}]'""": "spaCy's matcher does not take the pattern",
    """--label 'x=[{"TEXT": {"REGEX": "("}}]'""": "regular expression of a pattern is broken",
    """--label 'x=[{"TEXT": {"REGEX": "*a"}}]'""": "regular expression of a pattern is broken",
    """--label 'x=[{"TEXT": {"REGEX": {"IN": ["a"]}}}]'""": "write one expression",
    """--label 'x=[{"POS": "ADJ"}]' --label 'x=[{"POS": "DET"}]'""": "two labels are called 'x'",
    "--label x=" + "[" * 100_000: "the pattern is no JSON",
    "--label 'x=[" + '{"TEXT":' * 500 + "1" + "}" * 500 + "]'": "does not take the pattern",
    # what is computed
    "--layers some": "pass all, or numbers",
    "--layers 1-2-3": "pass all, or numbers",
    "--layers -1": "pass all, or numbers",
    "--layers ''": "pass all, or numbers",
    "--layers 1.5": "pass all, or numbers",
    "--layers ²": "pass all, or numbers",
    "--layers 5-2": "runs backwards",
    "--layers 0-99999999999": "goes beyond 9999",
    "--layers " + "9" * 5000: "goes beyond 9999",
    "--readouts logit": "no readout 'logit'",
    "--readouts none --no-all-logits": "no kernel is asked for",
    "--components W_up": "no component 'W_up'",
    "--components none": "no layer or no component",
    "--baselines nope": "no baseline 'nope'",
    "--controls nope": "no control 'nope'",
    "--normalizations scaled": "no normalization 'scaled'",
    "--normalizations centered --no-all-logits": "normalizations are of the kernel of all logits",
    "--probe svm": "--probe 'svm': pass logistic or ridge",
    "--preset nope": "--preset 'nope': pass paper",
    "--memory-budget 0": "more than 0",
    "--memory-budget nan": "more than 0",
    "--memory-budget inf": "more than 0",
    "--device meta": "--device meta",
    "--device nowhere": "--device nowhere",
    "--device cuda:99": "--device cuda:99",
    "--device meta --estimate": "--device meta",
    "--out stories.txt": "pass another --out",
    # what typer answers
    "--k nine": "invalid value for '--k'",
    "--tol small": "invalid value for '--tol'",
    "--k": "requires an argument",
    "--nope": "No such option",
    "nope": "unexpected extra argument",
}  # fmt: skip
TOYS = {
    "modular-transformer --p 4": "odd number from 5 on",
    "modular-transformer --p -7": "odd number from 5 on",
    "modular-transformer --epochs 0": "epochs = 0: pass a positive integer",
    "modular-transformer --batch-size 0": "batch_size = 0",
    "modular-transformer --d-model 10 --n-heads 3": "choose sizes that divide",
    "modular-transformer --n-heads 0": "n_heads = 0",
    "modular-transformer --train-fraction 1": "leaves one half empty",
    "modular-transformer --train-fraction nan": "leaves one half empty",
    "modular-transformer --seed -1": "seed = -1",
    "modular-transformer --learning-rate inf": "learning_rate = inf",
    "modular-transformer --learning-rate -1": "learning_rate = -1",
    "modular-transformer --weight-decay nan": "weight_decay = nan",
    "modular-transformer --model-class none": "--model-class 'none'",
    "modular-transformer --device meta": "--device meta",
    "modular-mlp --learning-rate inf": "learning_rate = inf",
    "modular-mlp --learning-rate 1e10 --p 5 --n 8 --epochs 10 --workers 1": "training diverged",
    "modular-mlp --weight-decay 1e9 --p 5 --n 8 --epochs 10 --workers 1": "training diverged",
    "modular-mlp --n 0": "n = 0",
    "modular-mlp --seeds 0": "--seeds 0",
    "modular-mlp --workers 0": "--workers 0",
    "superposition --m 5": "pass --m and --sparsity",
    "superposition --m 5 --sparsity 1": "sparsity = 1.0",
    "superposition --betas x": "pass numbers separated by commas",
    "superposition --betas 2": "one or more numbers from 0 to 1",
    "superposition --betas nan": "one or more numbers from 0 to 1",
    "superposition --betas ''": "one or more numbers from 0 to 1",
    "superposition --features 1": "features = 1",
    "induction-heads --checkpoints 9999": "checkpoints = 9999: pass 2000 or fewer",
    "induction-heads --length 20": "longest = 24",
    "induction-heads --workers 0": "--workers 0",
    "paper --workers 0": "--workers 0",
    "paper --model-class none": "--model-class 'none'",
    "list-components": "Missing argument",
    "list-components nothing/there/at-all": "nothing/there/at-all",
    "list-components stories --model-class none": "model class 'none'",
    "replay nowhere": "no config.json in nowhere",
    "replay folder": "no config.json in folder",
    "replay broken": "config.json is no call of a command",
    "replay deep": "config.json is no call of a command",
    "replay foreign": "is of a command 'nope'",
    "replay newer": "was written by tl_entk 9.9",
    "replay unfit": "does not fit tl_entk",
    "report nowhere": "no config.json in nowhere",
    "report folder deep": "folder has no result of tl-entk language",
    "report deep folder": "deep has no result of tl-entk language",
    "report deep deep": "a folder is given twice",
    "nope": "No such command",
    "languge": "No such command",
}  # fmt: skip
CASES = [("language", *case) for case in LANGUAGE.items()]
CASES += [("", *case) for case in TOYS.items()]
DEEP = "[" * 100_000


def kept(command, version="0.1.0", number=1, **options):
    versions = {"tl_entk": version}
    return {"format": number, "command": command, "options": options, "versions": versions}


@pytest.fixture
def files(tmp_path):
    """What the cases name."""
    texts = {
        "stories.txt": "Once.",
        "rows.jsonl": '{"topic": 1, "text": "Once."}',
        "gaps.jsonl": '{"text": null}\n{"text": "Once."}',
        "broken.jsonl": '{"text": "Onc',
        "empty.txt": " \n",
        "empty.jsonl": "",
        "splits/train.jsonl": '{"text": "Once."}',
        "broken/config.json": "{",
        "deep/config.json": DEEP,
        "deep/results.json": DEEP,
    }
    calls = {
        "foreign": kept("nope"),
        "newer": kept("language", "9.9", 99),
        "unfit": kept("language", **{"--nope": 3}),
    }
    (tmp_path / "folder").mkdir()
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for name, call in calls.items():
        write_kept(tmp_path / name / "config.json", call)
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    (tmp_path / "broken.txt.gz").write_bytes(b"no gzip")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    return tmp_path


@pytest.fixture
def light(monkeypatch):
    """A model that is loaded would be too late, and the network is out of reach."""

    def load(*args, **kwargs):
        raise AssertionError("a model is loaded")

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    set_threads.cache_clear()
    monkeypatch.setattr("feature_sets.texts.hub_answers", lambda endpoint: False)
    monkeypatch.setattr("tl_entk.experiments.language.run.load_language_model", load)


@pytest.mark.usefixtures("light", "files", "untyped")
@pytest.mark.parametrize(("command", "options", "message"), CASES)
def test_wrong_input_is_one_line_that_says_what_to_change(
    command, options, message, call, capsys, tmp_path
):
    before = sorted(tmp_path.rglob("*"))
    assert call(*shlex.split(f"{command} {options}")) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    # typer's own capitals differ from version to version
    assert message.lower() in " ".join(shown.replace("│", " ").split()).lower()
    if "diverged" not in message:
        assert sorted(tmp_path.rglob("*")) == before
