"""From markets to an agent: learning, choosing on inner rows, playing on validation rows, and the files of it all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..judging.costs import traded_blocks
from ..judging.resampling import block_length
from ..progress import Progress
from ..run_folder import AgentFolder
from ..training.runtime import set_up_tensorflow
from .accounting import Played, account_for, all_fees
from .choice import Candidates, Chosen
from .market import Market, Parts
from .policies import CAUTION
from .positions_file import write_positions
from .settings import GAMMAS, SEEDS, AgentSettings
from .verdict import decide

if TYPE_CHECKING:
    from .learning import Learning
    from .values import Agent

Sink = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """The agents that were learned and how each was chosen, by the cost they trade at; updates: of the networks."""

    agents: Mapping[float, Agent]
    chosen: Mapping[float, Chosen]
    updates: int


def make_agent(
    parts: Parts,
    settings: AgentSettings,
    identity: Mapping[str, Any],
    folder: AgentFolder,
    *,
    sink: Sink,
    progress: str,
) -> dict[str, Any]:
    """Learn, choose, play and write agent.keras and positions.csv; return what agent.json tells of it."""
    set_up_tensorflow(allow_growth=True, give_back=True, sink=sink)
    from ..training.saved_model import save_model, weights_sha256

    made = _learn_and_choose(parts, settings, identity, folder, sink, progress)
    agent, chosen = made.agents[settings.cost], made.chosen[settings.cost]
    save_model(agent, folder.model, unfinished=folder.unfinished_model)
    held = {name: agent.play(market) for name, market in parts.named.items()}
    write_positions(folder.positions, {name: (market, held[name]) for name, market in parts.named.items()})
    account = account_for(
        parts.validation,
        parts.inner,
        _played(parts.validation, made.agents, settings),
        chosen,
        fee=settings.rl_fee,
        slippage=settings.rl_slippage,
        options=settings.positions,
        target_step=parts.target_step,
        block_length=_blocks(parts.validation, parts.overlap),
    )
    return {
        "verdict": asdict(decide(account, chosen)),
        "account": account.to_json(),
        "chosen": [asdict(one) for one in made.chosen.values()],
        "networks": SEEDS,
        "caution": CAUTION,
        "updates": made.updates,
        "weights_sha256": weights_sha256(agent.variables),
    }


def _learn_and_choose(
    parts: Parts,
    settings: AgentSettings,
    identity: Mapping[str, Any],
    folder: AgentFolder,
    sink: Sink,
    progress: str,
) -> Made:
    """Learn at every cost and discount, from the last checkpoint on, and return what is kept of each cost."""
    from .checkpoint import AgentCheckpoints
    from .learning import Group, Learning, Lessons, learn

    costs = [fee + settings.rl_slippage for fee in all_fees(settings.rl_fee)]
    gammas = (settings.rl_gamma,) if settings.rl_gamma else GAMMAS
    groups = [Group(cost, gamma) for cost in costs for gamma in gammas]
    learning = Learning(Lessons.of(parts.train), groups, settings)
    candidates = Candidates(
        parts.inner,
        [(group.cost, group.gamma) for group in groups],
        epochs=settings.rl_epochs,
        positions=settings.positions,
        blocks=traded_blocks(parts.inner.plan, parts.inner.judged, block_length=_blocks(parts.inner, parts.overlap)),
        weights={weight.name: tuple(weight.shape)[1:] for weight in learning.learner.judging.weights},
    )
    checkpoints = AgentCheckpoints(folder.checkpoints, learning.learner, candidates, identity)
    begin = checkpoints.restore()
    if begin:
        sink(f"continuing after epoch {begin} of the agent")
    bar = Progress(settings.rl_epochs, start=begin, face=progress, sink=sink)

    def after_epoch(done: int) -> None:
        checkpoints.save(done)
        bar.update(done, "the agent learns")

    try:
        learn(learning, candidates, begin=begin, after_epoch=after_epoch)
    finally:
        bar.close()
    chosen = {one.cost: one for one in candidates.chosen()}
    agents = {
        cost: build_agent(learning, candidates.weights_of(cost), chosen[cost], settings, target_step=parts.target_step)
        for cost in costs
    }
    return Made(agents, chosen, learning.updates * settings.rl_epochs)


def build_agent(
    learning: Learning,
    weights: Mapping[str, np.ndarray],
    chosen: Chosen,
    settings: AgentSettings,
    *,
    target_step: int,
) -> Agent:
    """Return the agent of one cost, with what it must know of the rows it has learned from."""
    from .values import Agent

    lessons = learning.lessons
    agent = Agent(
        settings.positions,
        columns=len(lessons.mean),
        networks=SEEDS,
        cost=chosen.cost / lessons.unit,
        caution=CAUTION,
        always_flat=not chosen.evidence,
        target_step=target_step,
    )
    for weight in agent.stacked.weights:
        weight.assign(weights[weight.name])
    agent.mean.assign(lessons.mean)
    agent.deviation.assign(lessons.deviation)
    return agent


def _played(market: Market, agents: Mapping[float, Agent], settings: AgentSettings) -> Played:
    """Return what the agents of all fees hold, and what the networks of the one at `rl_fee` would hold alone."""
    agent = agents[settings.cost]
    fees = all_fees(settings.rl_fee)
    held = {fee: agents[fee + settings.rl_slippage].play(market) for fee in fees}
    candidates = {fee: agents[fee + settings.rl_slippage].play(market, gated=False) for fee in fees}
    return Played(held, candidates, agent.play_apart(market))


def _blocks(market: Market, overlap: int) -> int:
    """Return the length of blocks for intervals, in steps of a market's rows."""
    judged = market.judged
    first, returns = judged.forecasts[:, 0].astype(np.float64), judged.targets[:, 0].astype(np.float64)
    return block_length([returns, first * returns], judged.times, overlap=overlap)
