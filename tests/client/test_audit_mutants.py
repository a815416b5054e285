"""Every check of an audit matters: without it, a test that names an attack or a mistake fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adversary.mutation import Edit, apply
from adversary.test_evidence import test_who_waited_a_little_past_the_deadline_is_not_refuted
from client import test_ask_lies as lies
from client import test_audit_hostile as hostile
from client import test_campaign as campaigns
from client import test_canaries as canaries
from client import test_detection as detection
from client import test_record as records
from client import test_spot_checks as spot_checks
from client.campaigns import BEGUN
from client.test_audit_hostile import Audit, audit, held

__all__ = ["audit", "held"]

Scenario = Callable[[Path, Audit], Any]


def never(module: str, condition: str) -> Edit:
    """``if condition:`` is never true."""
    return Edit(f"client.{module}", f"if {condition}:", "if False:")


def gone(module: str, statement: str) -> Edit:
    """A statement that checks or keeps is left out."""
    return Edit(f"client.{module}", statement, "pass")


def instead(module: str, old: str, new: str) -> Edit:
    return Edit(f"client.{module}", old, new)


def alone(test: Callable[..., Any], *given: Any) -> Scenario:
    """A test that needs nothing but these arguments."""
    return lambda path, audit: test(*given)


def there(test: Callable[..., Any], *given: Any) -> Scenario:
    """A test that needs a directory."""
    return lambda path, audit: test(*given, path)


def by_command(test: Callable[..., Any], *given: Any) -> Scenario:
    """A test of the command."""
    return lambda path, audit: test(*given, audit)


def kept(test: Callable[..., Any], *given: Any) -> Scenario:
    """A test of the command that needs a directory."""
    return lambda path, audit: test(*given, audit, path)


def malformed(name: str) -> Scenario:
    return alone(records.test_what_is_no_entry_is_refused, name)


def following(name: str) -> Scenario:
    return alone(records.test_entries_that_do_not_follow_are_refused, name)


def patience(name: str) -> Scenario:
    return alone(campaigns.test_what_counts_against_a_node_is_what_its_terms_do_not_allow, name)


def ask_gives_up(audit: Audit, path: Path) -> None:
    """The test of the command ``ask`` that gives up early."""
    with pytest.MonkeyPatch.context() as patch:
        lies.test_a_node_that_may_still_open_is_neither_contradicted_nor_audited(
            "busy", audit.held, patch, audit.capsys
        )


MUTANTS: dict[str, tuple[Edit, Scenario]] = {
    # the order of things
    "challenges come last": (
        instead("campaign", "if self._is_due(checked)]:", "if True]:"),
        alone(campaigns.test_all_canaries_are_answered_before_the_first_challenge),
    ),
    "challenges come in time": (
        instead("campaign", ">= checked.claim.receipt.retention / 2", ">= 1e300"),
        alone(campaigns.test_a_receipt_that_promises_little_time_is_challenged_in_it),
    ),
    "who was challenged is warned": (
        instead("tally", "self._known = True  # only an auditor challenges", "pass"),
        there(campaigns.test_a_node_that_was_challenged_before_is_warned),
    ),
    "what a warned node answers counts for nothing": (
        instead("tally", "if not s.warned)", "if True)"),
        alone(campaigns.test_a_receipt_that_promises_little_time_is_challenged_in_it),
    ),
    "only challenges cannot wait": (
        never("campaign", "self._challenger is None or plan.replay"),
        alone(campaigns.test_a_replay_and_a_card_do_nothing_between_questions),
    ),
    # what an earlier run left
    "interrupted canaries": (
        never("campaign", "sent.lacks"),
        there(
            campaigns.test_a_canary_that_was_interrupted_may_have_been_answered_badly_and_counts_as_not_checked
        ),
    ),
    "answers on record": (
        instead("campaign", "for answer in sent.waiting:", "for answer in ():"),
        there(campaigns.test_what_was_done_is_neither_lost_nor_done_again, 2, "challenge", 0),
    ),
    "the end of the retention": (
        instead("campaign", "elif self._is_too_late(place):", "elif False:"),
        there(campaigns.test_an_answer_whose_retention_has_ended_is_not_held_against_the_node),
    ),
    "a challenge is sent again": (
        instead("challenger", "earlier is not None and self._fits(earlier)", "False"),
        there(campaigns.test_an_interrupted_challenge_is_sent_again_and_no_other, "budget"),
    ),
    "a challenge is on record before it is sent": (
        gone("campaign", "self._write(Challenged(*place, self._clock(), challenge.encode()))"),
        there(campaigns.test_an_interrupted_challenge_is_sent_again_and_no_other, "interrupt"),
    ),
    "a challenge that is checked with something else is another": (
        instead("challenger", "earlier is not None and self._fits(earlier)", "earlier is not None"),
        there(campaigns.test_who_continues_with_the_model_needs_another_challenge),
    ),
    "challenges follow answers": (
        never("tally", "entry.choice not in sent.answers or entry.choice in sent.verdicts"),
        following("a challenge after the verdict"),
    ),
    "redirects prove nothing": (
        never("heads", "300 <= response.status_code < 400"),
        alone(campaigns.test_a_redirect_of_a_canary_is_no_answer),
    ),
    "each choice is answered": (
        instead("tally", "len(self.answers) < self.asked.choices", "not self.answers"),
        there(campaigns.test_a_canary_of_which_one_choice_was_lost_is_not_checked),
    ),
    "choices are one chance": (
        instead(
            "tally",
            "[[*s.verdicts.values()] for s in sent",
            "[[v] for s in sent for v in s.verdicts.values()",
        ),
        alone(detection.test_choices_of_a_canary_are_one_chance),
    ),
    # budgets
    "tokens": (
        gone("campaign", "self._meter.require_tokens(self._tally.tokens, asked.prompt + asked.most)"),
        alone(campaigns.test_tokens_are_never_more_than_the_budget, 25),
    ),
    "tokens of attempts": (
        instead("campaign", "return max(1, min(ATTEMPTS, (limit - others) // one))", "return ATTEMPTS"),
        alone(campaigns.test_attempts_that_are_lost_count_and_hold_the_budget_too),
    ),
    "tokens of lost attempts": (
        instead("asking", "worked=not unsent", "worked=False"),
        alone(campaigns.test_attempts_that_are_lost_count_and_hold_the_budget_too),
    ),
    "tokens of canaries without an answer": (
        instead("tally", "return most * (1 if whole is None else lost)", "return 0"),
        alone(detection.test_tokens_are_the_most_that_can_have_been_spent),
    ),
    "the limit of tokens": (
        never("budget", "limit is not None and spent + most > limit"),
        alone(detection.test_a_budget_holds_exactly),
    ),
    "the limit of bytes": (
        never("budget", "limit is not None and self.nbytes + nbytes > limit"),
        alone(detection.test_a_budget_holds_exactly),
    ),
    "the limit of time": (
        never("budget", "limit is not None and self._clock() - self._start + more >= limit"),
        alone(detection.test_a_budget_holds_exactly),
    ),
    "units": (
        never("budget", "match is None or match[2] not in UNITS or not int(match[1])"),
        alone(detection.test_what_is_no_budget, ("0s",)),
    ),
    "one budget of a kind": (
        never("budget", "kind in found"),
        alone(detection.test_what_is_no_budget, ("1s", "2min")),
    ),
    "pauses count": (
        gone("budget", "self.require_time(seconds)"),
        alone(campaigns.test_nothing_is_begun_when_the_time_is_over),
    ),
    "no challenge after the time": (
        instead(
            "campaign",
            "challenger = self._challenger\n        self._meter.require_time()",
            "challenger = self._challenger\n        pass",
        ),
        alone(campaigns.test_no_challenge_is_made_when_the_time_is_over),
    ),
    "answers are audited without tokens": (
        instead(
            "campaign", "            self.stopped = str(e)\n        try:", "            raise\n        try:"
        ),
        alone(campaigns.test_what_was_answered_is_audited_when_the_tokens_are_spent),
    ),
    "bytes are counted": (
        gone("line", "self._meter.read(nbytes)"),
        alone(campaigns.test_bytes_are_never_more_than_the_budget, 500),
    ),
    # verdicts
    "a canary is open until all is judged": (
        never("tally", "not found & FAILED and (not found or any(True for _ in self.waiting))"),
        alone(detection.test_a_canary_is_open_until_each_of_its_answers_has_a_verdict),
    ),
    "the worst counts": (
        instead("tally", "return min(found, key=STATES.index)", "return max(found, key=STATES.index)"),
        alone(detection.test_the_worst_of_a_canary_is_what_it_came_to),
    ),
    "a receipt is no checked cell": (
        instead("tally", "(0 if cells else self.states", "(self.states"),
        alone(detection.test_only_what_was_checked_counts),
    ),
    "patience that ends before the terms, busy": (
        instead("verdicts", "waited < deadline or patient else", "True else"),
        patience("busy"),
    ),
    "patience that ends before the terms, silent": (
        instead("verdicts", '"silent" if patient else', '"silent" if True else'),
        patience("silent"),
    ),
    "silence past the terms": (
        instead("verdicts", '"silent" if patient else', '"silent" if False else'),
        patience("silent past its terms"),
    ),
    "busy past the terms": (
        instead("verdicts", "waited < deadline or patient else", "waited < deadline else"),
        patience("busy past its terms"),
    ),
    "what a front server says": (
        never("verdicts", "audited.elsewhere"),
        patience("elsewhere"),
    ),
    "refusals have the form of a node's": (
        instead("challenger", "said if status in _REFUSING and _is_error(body) else None", "said"),
        patience("elsewhere"),
    ),
    "unavailable is no refusal": (
        instead("challenger", "said if status in _REFUSING and _is_error(body) else None", "said"),
        patience("unavailable past its terms"),
    ),
    "the auditor's own credentials": (
        never("challenger", "status in _NOT_ADMITTED"),
        alone(campaigns.test_credentials_that_are_not_admitted_stop_an_audit_without_a_verdict),
    ),
    "what came in time and is none": (
        instead("verdicts", "and waited >= deadline", "and True"),
        patience("empty"),
    ),
    "receipts without terms": (
        never("asking", "named is None and not digest and self._book.latest is not None"),
        alone(campaigns.test_a_receipt_without_terms_is_contradicted_if_the_node_publishes_some),
    ),
    "promises of the terms": (
        gone("campaign", "check_promise(checked.claim.receipt, Terms.decode(checked.terms), 0)"),
        kept(hostile.test_a_promise_below_the_terms_is_contradicted_before_others, "card"),
    ),
    "unpublished terms are told": (
        instead("campaign", "named and checked.terms is None", "False"),
        alone(
            campaigns.test_receipts_under_terms_that_nobody_can_see_have_the_auditors_deadline_and_that_is_told
        ),
    ),
    "terms that were seen before": (
        gone("campaign", "self._asker.learn(terms)"),
        there(campaigns.test_terms_are_fetched_when_all_canaries_are_answered),
    ),
    "who looked at the terms is known": (
        instead("tally", "self._known = True  # only who checks receipts asks for terms", "pass"),
        there(campaigns.test_terms_are_fetched_when_all_canaries_are_answered),
    ),
    "contradicted responses": (
        never("campaign", "found is not None"),
        alone(campaigns.test_a_contradicted_response_comes_with_all_that_shows_it),
    ),
    # what a node sees
    "terms are asked for late": (
        instead("asking", "terms=False", "terms=True"),
        alone(campaigns.test_a_replay_asks_a_node_for_nothing_but_answers),
    ),
    "repetitions look like a client's": (
        instead("asking", "retried(canary.headers, attempt)", "canary.headers"),
        alone(campaigns.test_a_repetition_of_a_canary_says_so),
    ),
    "streams are not repeated": (
        instead("asking", "final=response is not None", "final=False"),
        alone(campaigns.test_a_stream_that_breaks_off_is_not_asked_for_again),
    ),
    "connections are not shared": (
        instead("line", "if fresh else", "if False else"),
        alone(campaigns.test_each_canary_has_a_connection_of_its_own),
    ),
    "patience with an answer": (
        never("line", "self._patience is not None and time.monotonic() - start > self._patience"),
        alone(campaigns.test_an_answer_that_drips_is_not_waited_for),
    ),
    "recorded requests in no order": (
        gone("canaries", "self._draw.shuffle(found)"),
        alone(canaries.test_recorded_requests_are_sent_as_they_are_once_and_in_no_order),
    ),
    "recorded requests once": (
        instead("canaries", "name not in sent and self._modest(body)", "self._modest(body)"),
        alone(canaries.test_recorded_requests_are_sent_as_they_are_once_and_in_no_order),
    ),
    "recorded requests of few tokens": (
        instead("canaries", "type(asked) is int and asked <= self._most", "True"),
        alone(canaries.test_a_limit_leaves_recorded_requests_out_and_changes_none),
    ),
    "recorded requests suffice": (
        never("campaign", "left is not None and left < missing"),
        alone(campaigns.test_canaries_that_do_not_fit_the_model_are_drawn_again_and_never_sent),
    ),
    "a recorded request is one": (
        never("canaries", '("messages" in recorded) == ("prompt" in recorded)'),
        alone(canaries.test_recorded_requests_of_both_kinds_go_where_they_belong),
    ),
    "the system's randomness": (
        instead("canaries", "SystemRandom() if draw is None else", "Random(0) if draw is None else"),
        alone(canaries.test_nobody_can_guess_what_comes),
    ),
    "usual limits": (
        instead("canaries", "[n for n in _MOST_TOKENS if n <= most] or [most]", "range(1, most + 1)"),
        alone(canaries.test_limits_of_canaries_are_those_that_people_write),
    ),
    "both kinds of nonces": (
        instead("canaries", 'by if by != "mixed" else draw.choice(("client", "node"))', '"client"'),
        alone(canaries.test_who_chooses_the_nonce_is_drawn_too),
    ),
    # the record
    "lines are as they were written": (
        instead(
            "record", 'return chain if line == body + _CHAIN + chain.encode() + _END else ""', "return chain"
        ),
        there(records.test_a_byte_that_was_changed_anywhere_is_found_and_its_line_named),
    ),
    "lines follow": (
        instead("record", "hashlib.sha256(self._chain.encode() + body)", "hashlib.sha256(body)"),
        there(records.test_lines_that_do_not_follow_are_found, "left out, a verdict"),
    ),
    "another file is not cut": (
        instead("record", 'if not begins or self._chain_of(line[:-1] + b"\\n"):', "if False:"),
        there(records.test_a_file_that_is_no_record_is_refused_and_left_alone, "a key file"),
    ),
    "a damaged end": (
        instead("record", 'if not begins or self._chain_of(line[:-1] + b"\\n"):', "if not begins:"),
        there(records.test_a_byte_that_was_changed_anywhere_is_found_and_its_line_named),
    ),
    "the audit of the record": (
        never("record", "found is not None and found != begun"),
        there(records.test_the_record_of_another_audit_is_refused, replace(BEGUN, url="x")),
    ),
    "long lines of a file": (
        instead("record", 'len(line) == MAX_LINE and not line.endswith(b"\\n")', "False"),
        lambda path, audit: with_patch(records.test_lines_are_bounded, path),
    ),
    "long lines": (
        never("record", "len(line) > MAX_LINE"),
        lambda path, audit: with_patch(records.test_lines_are_bounded, path),
    ),
    "half a line on a full disk": (
        gone("record", "os.ftruncate(self._fd, self._size)"),
        lambda path, audit: with_patch(records.test_a_full_disk_leaves_no_half_line, path),
    ),
    "a few bytes at a time": (
        instead("record", "while left:", "if left:"),
        lambda path, audit: with_patch(records.test_a_full_disk_leaves_no_half_line, path),
    ),
    "a line that was not finished": (
        gone("record", "os.ftruncate(self._fd, whole)"),
        there(records.test_a_record_that_was_cut_off_anywhere_continues),
    ),
    "one user": (
        instead(
            "record",
            'self._stack.enter_context(exclusive(path, "the record", follow=True))',
            "os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)",
        ),
        there(records.test_a_record_that_is_in_use_is_refused),
    ),
    "a file that others may read": (
        gone("record", "self._take_from_others()"),
        lambda path, audit: with_patch(records.test_an_empty_file_that_others_may_read_becomes_private, path),
    ),
    # entries
    "fields": (never("entries", 'value.keys() - {"event"} != types.keys()'), malformed("a field less")),
    "numbers": (
        never("entries", "type(value) is not int or not 0 <= value < 1 << 53"),
        malformed("a negative number"),
    ),
    "times": (
        never("entries", "type(value) not in (int, float) or not 0 <= float(value) < math.inf"),
        malformed("no time"),
    ),
    "texts": (never("entries", "type(value) is not str"), malformed("bytes as a list")),
    "states": (
        never("entries", "type(value) is not str or value not in STATES"),
        malformed("a state that nobody knows"),
    ),
    "sides": (
        never("entries", 'type(value) is not str or value not in ("client", "node")'),
        malformed("another side"),
    ),
    "flags": (never("entries", "type(value) is not bool"), malformed("a flag as a number")),
    "objects": (never("entries", "type(value) is not dict"), malformed("what was found as a text")),
    "probabilities": (never("entries", "found > 1"), malformed("a probability above 1")),
    "one beginning": (
        never("tally", "isinstance(entry, Begun) != (self.begun is None)"),
        following("two beginnings"),
    ),
    "numbers of canaries": (
        never("tally", "entry.id != len(self.sent) or entry.choices < 1"),
        following("a canary twice"),
    ),
    "answers that are waited for": (
        never("tally", "entry.choice in sent.answers or entry.choice >= sent.asked.choices or sent.verdicts"),
        following("an answer twice"),
    ),
    "one verdict": (
        never("tally", "entry.choice in sent.verdicts or unknown"),
        following("a verdict twice"),
    ),
    "canaries that were sent": (never("tally", "number not in self.sent"), following("an answer to nothing")),
    # figures
    "probabilities of a figure": (
        never("detection", "not 0 <= value <= 1"),
        alone(detection.test_what_is_no_probability, (1.1, [0.5])),
    ),
    "figures of nothing": (
        never("detection", "answers < 0 or not 0 <= confidence < 1"),
        alone(detection.test_what_is_no_probability, (1.1, [0.5])),
    ),
    # the command
    "all canaries must be checked": (
        Edit(
            "cli.audit_command",
            "max(count, len(tally.sent)) if min_checked is None else",
            "1 if min_checked is None else",
        ),
        by_command(hostile.test_how_many_canaries_must_be_checked, "card"),
    ),
    "too few checked canaries": (
        Edit("cli.audit_command", "elif tally.checked(cells=checks) < minimum:", "elif False:"),
        by_command(hostile.test_a_node_that_answers_no_canary_does_not_pass, "refusing"),
    ),
    "failures": (
        Edit("cli.audit_command", "if tally.failed:", "if False:"),
        kept(hostile.test_an_opening_that_does_not_come_is_a_failure_on_record, "refusing", "cells"),
    ),
    "no evidence that others refute": (
        never("contradictions", "judged.finding is Finding.REFUTED"),
        alone(spot_checks.test_silence_before_the_deadline_of_the_terms_makes_no_evidence),
    ),
    "evidence for who has the model": (
        instead("contradictions", "is Finding.REFUTED:", "in (Finding.REFUTED, Finding.UNATTRIBUTABLE):"),
        kept(hostile.test_a_false_answer_is_found_by_who_has_the_model_though_nobody_signed_the_opening),
    ),
    "spot checks that give up early accuse nobody": (
        never("spotchecks", "gave_up(audited, challenger)"),
        alone(spot_checks.test_who_gives_up_before_the_terms_do_accuses_nobody, True, "silent"),
    ),
    "questions whose challenger gives up early accuse nobody": (
        Edit("cli.ask_command", "if gave_up(audited, challenger):", "if False:"),
        kept(ask_gives_up),
    ),
    "waits are rounded up": (
        Edit("verifier.evidence", "waited or 0.0, math.ceil", "waited or 0.0, math.floor"),
        alone(test_who_waited_a_little_past_the_deadline_is_not_refuted),
    ),
    "one question, several choices": (
        Edit(
            "verifier.auditor", "request.question) != request.question", "request.digest) != request.digest"
        ),
        alone(campaigns.test_each_choice_is_an_answer_and_a_canary_is_one),
    ),
}
"""What removes a check, and the test that then fails."""


def with_patch(test: Callable[..., Any], path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        test(path, patch)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_check_that_is_removed_is_missed(name: str, tmp_path: Path, audit: Audit) -> None:
    edit, scenario = MUTANTS[name]
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, [edit])
        with pytest.raises((Exception, pytest.fail.Exception)):
            scenario(tmp_path, audit)
