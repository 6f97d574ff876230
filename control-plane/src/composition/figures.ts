// What Prometheus is told of fleet, models, rollouts and alerts. Read at most once in some seconds however often it is scraped,
// and bounded: of models and versions only so many have series of their own.

import { DeviceStatus } from '@edgeloop/shared/api/devices';
import type { GroupBy, Metric, MetricQuestion, MetricResult } from '@edgeloop/shared/api/metrics';
import { RolloutState } from '@edgeloop/shared/api/rollouts';
import { Gauge, type Registry } from 'prom-client';
import type { KnownDevices } from '../telemetry/telemetry.ts';
import type { FiguresStore } from './figures-store.ts';

interface FiguresDeps {
  registry: Registry;
  store: FiguresStore;
  knownDevices: () => Promise<KnownDevices>;
  query: (asked: MetricQuestion) => Promise<MetricResult>;
  now: () => number;
}

const keptForMs = 10_000;
/** Series of one metric, those with the highest values: the rest is left out. */
const maxSeries = 200;
/** Rules with series of their own. */
const maxRules = 100;
const minute = 60_000;
const day = 1440 * minute;
/** Of how long the latest figures of models are: quick ones of few minutes, what needs labels or judgement of a day. */
const recentMs = 15 * minute;

interface Values {
  /** Labels and value of each series. */
  series: { labels: Record<string, string>; value: number }[];
}

/** Registers gauges that are read together. */
export function registerFigures(deps: FiguresDeps): void {
  const { registry } = deps;
  const values = keptFor(keptForMs, deps.now, () => readAll(deps));
  const gauge = (name: string, help: string, labelNames: string[]) => {
    new Gauge({
      ...{ name, help, labelNames, registers: [registry] },
      async collect() {
        this.reset();
        for (const { labels, value } of (await values()).get(name)?.series ?? []) this.set(labels, value);
      },
    });
  };
  gauge('edgeloop_devices', 'Devices by what they are now; revoked: removed from the fleet', ['status']);
  gauge('edgeloop_alerts', 'Alerts that are not resolved, by rule, severity and state', [
    'rule',
    'kind',
    'severity',
    'status',
  ]);
  gauge('edgeloop_rollouts', 'Rollouts by phase', ['phase']);
  gauge('edgeloop_model_latency_seconds', 'Quantiles of requests of the last 15 minutes', [
    'model',
    'version',
    'percentile',
  ]);
  gauge('edgeloop_model_error_ratio', 'Failed of all valid requests of the last 15 minutes', ['model', 'version']);
  gauge('edgeloop_model_accuracy_ratio', 'Right among labelled predictions of the last day', ['model', 'version']);
  gauge('edgeloop_model_drift_psi', 'The judged window of the last day that drifted most', ['model', 'version']);
  gauge('edgeloop_database_bytes', 'Size of the database', []);
}

async function readAll({ store, knownDevices, query, now }: FiguresDeps): Promise<Map<string, Values>> {
  const byVersion: GroupBy[] = ['model', 'version'];
  const of = async (metric: Metric, lengthMs: number, quantile?: number[]) => {
    const { series } = await query({
      metric,
      groupBy: byVersion,
      from: now() - lengthMs,
      to: now(),
      ...(quantile && { quantile }),
    });
    return bounded(
      series.flatMap(({ labels, quantile: q, points }) => {
        const value = points.at(-1)?.value ?? null;
        return value === null
          ? []
          : [{ labels: { ...labels, ...(q === undefined ? {} : { percentile: String(100 * q) }) }, value }];
      }),
    );
  };
  const latency = await of('latency', recentMs, [0.5, 0.95, 0.99]);
  return new Map<string, Values>([
    ['edgeloop_devices', await devicesByStatus(await knownDevices(), store)],
    ['edgeloop_alerts', alertsByRule(await store.openAlerts())],
    ['edgeloop_rollouts', await rolloutsByPhase(store)],
    [
      'edgeloop_model_latency_seconds',
      { series: latency.series.map((each) => ({ ...each, value: each.value / 1000 })) },
    ],
    ['edgeloop_model_error_ratio', await of('error_rate', recentMs)],
    ['edgeloop_model_accuracy_ratio', await of('accuracy', day)],
    ['edgeloop_model_drift_psi', await of('drift', day)],
    ['edgeloop_database_bytes', { series: [{ labels: {}, value: await store.bytes() }] }],
  ]);
}

async function devicesByStatus(known: KnownDevices, store: FiguresStore): Promise<Values> {
  const counts = new Map<string, number>(DeviceStatus.options.map((status) => [status, 0]));
  for (const { status } of known.values()) counts.set(status, (counts.get(status) ?? 0) + 1);
  counts.set('revoked', await store.removedDevices());
  return { series: [...counts].map(([status, value]) => ({ labels: { status }, value })) };
}

/** Every phase has a series, so that one without rollouts is 0 and not missing. */
async function rolloutsByPhase(store: FiguresStore): Promise<Values> {
  const counts = new Map<string, number>(RolloutState.options.map((option) => [option.shape.phase.value, 0]));
  for (const { phase, count } of await store.rolloutsByPhase()) counts.set(phase, count);
  return { series: [...counts].map(([phase, value]) => ({ labels: { phase }, value })) };
}

/** No alert is left out: those of rules beyond so many stand together, by severity still. */
function alertsByRule(open: Awaited<ReturnType<FiguresStore['openAlerts']>>): Values {
  const byRule = new Map<string, number>();
  for (const { rule, count } of open) byRule.set(rule, (byRule.get(rule) ?? 0) + count);
  const named = new Set(
    [...byRule]
      .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
      .map(([rule]) => rule)
      .slice(0, maxRules),
  );
  const sums = new Map<string, Values['series'][number]>();
  for (const { count, ...labels } of open) {
    const own = named.has(labels.rule) ? labels : { ...labels, rule: 'other' };
    const key = JSON.stringify(own);
    const known = sums.get(key) ?? { labels: own, value: 0 };
    sums.set(key, { ...known, value: known.value + count });
  }
  return { series: [...sums.values()] };
}

function bounded(series: Values['series']): Values {
  return { series: series.length <= maxSeries ? series : series.sort((a, b) => b.value - a.value).slice(0, maxSeries) };
}

/** What `read` gives, read anew when it is older; who asks meanwhile waits for the same. */
function keptFor<T>(ms: number, now: () => number, read: () => Promise<T>): () => Promise<T> {
  let last: { at: number; value: Promise<T> } | undefined;
  return () => {
    if (last !== undefined && now() - last.at < ms) return last.value;
    const value = read();
    last = { at: now(), value };
    value.catch(() => {
      last = undefined;
    });
    return value;
  };
}
