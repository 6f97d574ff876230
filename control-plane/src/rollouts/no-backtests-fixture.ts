// For rollouts whose plans have no backtest as a gate.
import type { BacktestSource } from './backtest-gate.ts';

export const noBacktests: BacktestSource = {
  ask: async () => undefined,
  of: async () => undefined,
  newest: async () => null,
  create: () => Promise.reject(new Error('nobody asks for one here')),
};
