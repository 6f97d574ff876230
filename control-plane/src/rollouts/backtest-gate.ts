// The gate before the first device: what the version's backtest came to.
import type { Backtest, BacktestCreate } from '@edgeloop/shared/api/backtests';
import type { GateVerdict, Rollout } from '@edgeloop/shared/api/rollouts';
import type { Transaction } from '../database/open.ts';
import type { GateSource } from './views.ts';

export interface BacktestSource {
  /** Has one made for the rollout's gate, within the transaction, unless one is under way or has passed. */
  ask(tx: Transaction, rollout: Rollout, actor: string): Promise<void>;
  /** The newest of the rollout, and its verdict. */
  of(rolloutId: string): Promise<{ backtest: Backtest; verdict: GateVerdict } | undefined>;
  /** Has one made of a version. @throws AppError `not_found` */
  create(actor: string, asked: { model: string; version: number; asked: BacktestCreate }): Promise<Backtest>;
  /** Of a version, whoever asked for it. */
  newest(model: string, version: number): Promise<Backtest | null>;
}

/** Verdicts on the wave, and that of the backtest before them. */
export function withBacktest(gates: GateSource, backtests: Pick<BacktestSource, 'of'>): GateSource {
  return async (asked) => {
    const { id, plan } = asked.rollout;
    const { mode } = plan.gates.backtest;
    if (mode === 'off') return gates(asked);
    const { verdict } = (await backtests.of(id)) ?? { verdict: missing(mode === 'gate') };
    return [verdict, ...(await gates(asked))];
  };
}

function missing(blocking: boolean): GateVerdict {
  const detail = 'there is no backtest of this rollout: resume it to have one made';
  return { gate: 'backtest', verdict: 'inconclusive', detail, blocking };
}
