"""Results of functions and outcomes of executions."""

import pytest

from obelisk.core.values import NO_VALUE, Err, ErrForm, Failure, FailureKind, Json, Ok
from obelisk.wit.outcomes import OutcomeCodec, err_form, json_result, outcome_codec
from obelisk.wit.types import Borrow, Enum, List, Option, Own, Prim, Record, Result, Signature, Tuple, Variant

ERRORS = Variant((("execution-failed", None), ("not-found", Prim.STRING), ("permanently-gone", Prim.U8)))
FAILURE = Failure(FailureKind.TIMED_OUT, "too slow")


@pytest.mark.parametrize(
    ("result", "form"),
    [
        (Result(None, None), ErrForm.NONE),
        (Result(Prim.U64, None), ErrForm.NONE),
        (Result(None, Prim.STRING), ErrForm.STRING),
        (Result(Prim.U64, Prim.STRING), ErrForm.STRING),
        (Result(None, ERRORS), ErrForm.VARIANT),
        (Result(List(Prim.U8), ERRORS), ErrForm.VARIANT),
        (None, None),
        (Prim.U64, None),
        (Option(Result(None, None)), None),
        (Result(None, Prim.U8), None),
        (Result(None, Variant((("other", None),))), None),
        (Result(None, Variant((("execution-failed", Prim.STRING),))), None),
        (Result(None, Enum(("execution-failed",))), None),
        (Result(Own("a:b/c.d"), None), None),
    ],
)
def test_return_forms(result, form):
    assert err_form(Signature((("n", Prim.U8),), result)) is form


@pytest.mark.parametrize("wrap", [List, Option, lambda t: Tuple((t,)), lambda t: Record((("a", t),)),
                                  lambda t: Variant((("a", t),)), lambda t: Result(None, t)])  # fmt: skip
def test_a_handle_anywhere_makes_a_function_uncallable(wrap):
    assert err_form(Signature((("n", wrap(Borrow("a:b/c.d"))),), Result(None, None))) is None


@pytest.mark.parametrize(
    ("result", "value", "outcome"),
    [
        (Result(None, None), (True, None), Ok(NO_VALUE)),
        (Result(None, None), (False, None), Err(NO_VALUE)),
        (Result(Prim.U64, None), (True, 55), Ok(Json(b"55"))),
        (Result(Option(Prim.U8), Prim.STRING), (True, None), Ok(Json(b"null"))),
        (Result(None, Prim.STRING), (False, "no"), Err(Json(b'"no"'))),
        (Result(None, ERRORS), (False, (1, "x")), Err(Json(b'{"not_found":"x"}'))),
        (Result(None, ERRORS), (False, (2, 7)), Err(Json(b'{"permanently_gone":7}'), permanent=True)),
    ],
)
def test_results_and_outcomes(result, value, outcome):
    codec = outcome_codec(result)
    assert codec.outcome(value) == outcome
    assert codec.value(outcome) == value


@pytest.mark.parametrize(
    ("result", "value"),
    [
        (Result(Prim.U64, None), (False, None)),
        (Result(Prim.U64, Prim.STRING), (False, "execution-failed")),
        (Result(None, Variant((("a", Prim.U8), ("execution-failed", None)))), (False, (1, None))),
    ],
)
def test_a_failure_is_shown_in_the_declared_form(result, value):
    assert outcome_codec(result).value(FAILURE) == value


@pytest.mark.parametrize(
    ("outcome", "form", "value"),
    [
        (Ok(), ErrForm.NONE, (True, None)),
        (Ok(Json(b"5")), ErrForm.STRING, (True, ("5",))),
        (Ok(Json(b"null")), ErrForm.NONE, (True, ("null",))),
        (Err(), ErrForm.NONE, (False, None)),
        (Err(Json('"é"'.encode())), ErrForm.STRING, (False, ('"é"',))),
        (Err(Json(b'{"not_found":"x"}'), permanent=True), ErrForm.VARIANT, (False, ('{"not_found":"x"}',))),
        (FAILURE, ErrForm.NONE, (False, None)),
        (FAILURE, ErrForm.STRING, (False, ('"execution-failed"',))),
        (FAILURE, ErrForm.VARIANT, (False, ('"execution_failed"',))),
    ],
)
def test_outcomes_as_json_for_those_who_do_not_know_the_type(outcome, form, value):
    assert json_result(outcome, form) == value


@pytest.mark.parametrize("result", [Result(Prim.U64, Prim.STRING), Result(None, ERRORS)])
def test_a_failure_as_json_is_what_a_typed_caller_reads(result):
    codec = outcome_codec(result)
    _, (text,) = json_result(FAILURE, codec.form)
    assert codec.value(codec.decode(f'{{"err": {text}}}')) == codec.value(FAILURE)


def test_a_result_written_by_a_user():
    codec = outcome_codec(Result(Prim.F32, ERRORS))
    assert codec.decode('{"ok": 1}') == Ok(Json(b"1.0"))
    assert codec.decode('{"err": {"permanently-gone": 1}}') == Err(Json(b'{"permanently_gone":1}'), permanent=True)


def test_cases_may_be_said_to_be_permanent_besides_those_whose_names_say_so():
    said, unsaid = outcome_codec(Result(None, ERRORS), ("not-found", "no-case")), outcome_codec(Result(None, ERRORS))
    for value, permanent in (((0, None), False), ((1, "x"), True), ((2, 7), True)):
        assert said.outcome((False, value)).permanent is permanent
    assert unsaid.outcome((False, (1, "x"))).permanent is False
    assert outcome_codec(Result(None, Prim.STRING), ("not-found",)).outcome((False, "x")) == Err(Json(b'"x"'))


def test_other_types_have_no_outcomes():
    with pytest.raises(ValueError, match="not a return type"):
        OutcomeCodec(Prim.U8)
