"""From pairs to a judge, and from what it says to evidence."""

from __future__ import annotations

from dataclasses import replace

from llmlab.judging.known import Pair
from llmlab.judging.reading import Choice
from llmlab.rollout.evidence import Evidence
from llmlab.rollout.judge_asking import JudgeAsking, Waiting
from llmlab.rollout.judged_pairs import asks_judge
from llmlab.rollout.pairs_gate import JUDGED
from llmlab.rollout.state import Rollout
from llmlab.rollout.worst_pair import WorstPair, WorstPairs

LONGEST = 20_000  # characters of a pair, with the task


def offer(
    judge: JudgeAsking | None, rollout: Rollout, evidence: Evidence, pair: WorstPair, task: str
) -> None:
    """Have the judge look at a pair, where the gate has it look at any, and it is not too long."""
    if judge is None or JUDGED not in evidence.pairs.bets:
        return
    counts = evidence.pairs.judge
    # It is paid by the token. What is left out must not be up to the candidate: so its answer is
    # taken to be as long as the other one, and where it runs on, that is held against it.
    if len(task) + 2 * len(pair.base) > LONGEST:
        counts.dropped += 1
        return
    if len(task) + len(pair.base) + len(pair.tested) > LONGEST:
        counts.differ += 1
        counts.add(Choice.REFUSED)
        return
    asked = Pair("pair", task, pair.tested, pair.base)
    one = Waiting(asked, rollout.number, evidence.step, pair)
    if not judge.offer(one):
        counts.dropped += 1
    elif not one.same:
        counts.differ += 1


def judged(
    judge: JudgeAsking | None, rollout: Rollout, evidence: Evidence, worst: WorstPairs
) -> bool:
    """Take in what it has said since. Returns whether that was anything."""
    if judge is None or not asks_judge(rollout.rules):
        return False
    versions = rollout.candidate.deployment, rollout.base.deployment
    batch = judge.tick(rollout.rules.judge_rate, versions)
    if batch is None:
        return False
    pairs, counts = evidence.pairs, evidence.pairs.judge
    counts.silent = counts.silent if batch.silent is None else batch.silent
    counts.questions += batch.questions
    counts.tokens_in += batch.tokens_in
    counts.tokens_out += batch.tokens_out
    for said in batch.said:
        if said.waiting.rollout != rollout.number:  # of one that is over
            continue
        if batch.silent:  # which says nothing of the answers
            counts.unanswered += 1
            continue
        of_step, same = said.waiting.step == evidence.step, said.waiting.same
        shown = counts.add(
            said.judgement.choice if said.judgement else None, asked=not same, of_step=of_step
        )
        if shown is None or not said.judgement:
            continue
        if pairs.add_judged(shown, of_step=of_step):
            whole = said.waiting.whole
            values = {**whole.values, JUDGED: shown}
            worst.keep(
                rollout.number, replace(whole, values=values, judge=said.judgement.why)
            )  # fmt: skip
    return True
