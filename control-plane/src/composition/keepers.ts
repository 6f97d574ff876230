// How long each table is kept that would grow for ever; telemetry, which is put together before it goes, knows its own.
import type { Config } from '../config.ts';
import { type Keeper, keeperFor } from '../database/expire.ts';
import type { Database } from '../database/open.ts';

interface KeepersDeps {
  database: Database;
  keep: Config['keep'];
  now: () => number;
}

export function buildKeepers({ database, keep, now }: KeepersDeps): Keeper[] {
  const { alerts, audit, evaluations, runLogs, samples, silences } = database.tables;
  const { auditMs, historyMs, logsMs, samplesMs } = keep;
  return [
    // Of those that have not ended there is no end to count from.
    keeperFor(database, {
      name: 'alerts',
      table: alerts,
      key: [alerts.id],
      at: alerts.resolvedAt,
      keepMs: historyMs,
      now,
    }),
    keeperFor(database, {
      name: 'silences',
      table: silences,
      key: [silences.id],
      at: silences.endsAt,
      keepMs: historyMs,
      now,
    }),
    keeperFor(database, { name: 'audit', table: audit, key: [audit.id], at: audit.at, keepMs: auditMs, now }),
    keeperFor(database, {
      ...{ name: 'evaluations', table: evaluations, at: evaluations.windowEnd, keepMs: historyMs, now },
      key: [evaluations.ruleId, evaluations.model, evaluations.version, evaluations.windowStart],
    }),
    keeperFor(database, {
      ...{ name: 'run_logs', table: runLogs, key: [runLogs.runId, runLogs.line], at: runLogs.at, keepMs: logsMs, now },
    }),
    keeperFor(database, {
      ...{ name: 'samples', table: samples, at: samples.predictedAt, keepMs: samplesMs, now },
      key: [samples.deviceId, samples.inferenceId],
    }),
  ];
}
