import pytest

from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import EVALUATORS, check_evaluator, register_evaluator


@pytest.fixture(autouse=True)
def nothing_stays_registered(monkeypatch):
    monkeypatch.setattr("eas_tf.evaluation.registry.EVALUATORS", dict(EVALUATORS))


def test_a_class_that_is_defined_again_replaces_the_old_one():
    def cell_run_again():
        class Mine:
            pass

        return Mine

    for _ in range(2):
        register_evaluator("mine", cell_run_again())
    check_evaluator("mine")


@pytest.mark.parametrize("name", ["train", "surrogate"])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(InvalidConfiguration, match=f"There is an evaluator '{name}' already"):
        register_evaluator(name, lambda *_: None)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(InvalidConfiguration, match=r"a name and a function. Received: 'x', 3"):
        register_evaluator("x", 3)
    with pytest.raises(InvalidConfiguration, match=r"a name and a function. Received: ''"):
        register_evaluator("", lambda *_: None)
