// What devices saw: taken in once, kept, and answered for dashboards, rollouts and monitoring.
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { MetricQuestion, MetricResult } from '@edgeloop/shared/api/metrics';
import type { Selector } from '@edgeloop/shared/selector';
import { type TelemetryAck, type TelemetryBatch, Window } from '@edgeloop/shared/telemetry';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { Keeper } from '../database/expire.ts';
import type { Database } from '../database/open.ts';
import type { Claims } from '../fleet/fleet.ts';
import type { FieldEvidence, FieldQuery } from '../gates/evidence.ts';
import type { Traffic } from '../gates/forecast.ts';
import { createIngestCounters } from './counters.ts';
import { Decoder } from './decoder.ts';
import type { KnownDevices } from './device-groups.ts';
import { createFieldEvidence } from './field-evidence.ts';
import { createFieldStore } from './field-store.ts';
import { createHistory, type History } from './history.ts';
import { createIngest } from './ingest.ts';
import { createLabelRollupStore } from './label-rollup-store.ts';
import { LabelRollups } from './label-rollups.ts';
import type { LastPeriodQuery } from './last-period.ts';
import { createWindowMerge, type WindowMerge } from './merge.ts';
import type { DriftSeries } from './metric-readers.ts';
import { unpackedBytes } from './payload.ts';
import { createQuarantine } from './quarantine.ts';
import { createMetricQuery } from './query.ts';
import { createRetention, type KeepTelemetry } from './retention.ts';
import { createRollupStore } from './rollup-store.ts';
import { createRollups } from './rollups.ts';
import { createSeriesStore } from './series-store.ts';
import { createTelemetryStore, type Span, type Stored, type TelemetryStore } from './telemetry-store.ts';
import { createThrottle } from './throttle.ts';
import { readTraffic } from './traffic.ts';

export type { DriftSeries, KnownDevices, Stored };

export interface TelemetryDeps {
  database: Database;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  /** Prometheus metrics of the process. */
  metrics: Registry;
  /** Which of what devices say counts. */
  claims: Claims;
  devicesMatching: (selector: Selector) => Promise<ReadonlySet<string>>;
  /** Every device that may connect, with what it is now. */
  knownDevices: () => Promise<KnownDevices>;
  /** Labels of devices by which charts are put together as windows come in. */
  rollupLabels: readonly string[];
  driftSeries: DriftSeries;
  keep: KeepTelemetry;
  log: Logger;
  decoder?: Decoder;
}

/** Devices that were told to run a version, each since when. */
export interface EvidenceQuery {
  model: string;
  version: number;
  assigned: readonly { deviceId: string; since: number }[];
}

export interface MergeQuery {
  model: string;
  version: number;
  from: number;
  to: number;
  devices?: readonly string[] | undefined;
}

export interface ActivityQuery {
  model: string;
  from: number;
  to: number;
  stepMs: number | undefined;
}
export interface Activity {
  version: number;
  at: number;
  windows: number;
  requests: number;
}
export interface LabelActivity {
  version: number;
  at: number;
  labels: number;
  correct: number;
}

export type StoredHandler = (stored: Stored) => void;

/** What an item that is not bytes any more is reckoned at. */
const itemBytes = 4096;
/** Least time between two change events of a model. */
const notifyEveryMs = 1000;

export type Telemetry = ReturnType<typeof createTelemetry>;

export function createTelemetry(deps: TelemetryDeps) {
  const store = createTelemetryStore(deps.database);
  const seriesStore = createSeriesStore(deps.database);
  const handlers: StoredHandler[] = [];
  /** Commits with windows or labels of a model since this process began. */
  const commits = new Map<string, number>();
  const changed = createThrottle(notifyEveryMs, (model) =>
    deps.notify({ type: 'telemetry', id: model, state: 'ingested' }),
  );
  const decoder = deps.decoder ?? new Decoder(deps);
  const ingest = createIngest({
    database: deps.database,
    ...{ store, decoder },
    counters: createIngestCounters(deps.metrics),
    claims: deps.claims,
    now: deps.now,
    onStored,
    onPressure: (high) => pressed(high),
  });
  let pressed: (high: boolean) => void = () => undefined;
  const quarantine = createQuarantine(deps);
  const rollupStore = createRollupStore(deps.database);
  const rollups = createRollups({ ...deps, store: rollupStore });
  const labelRollups = new LabelRollups({
    ...{ ...deps, rollupStore, labels: deps.rollupLabels },
    store: createLabelRollupStore(deps.database),
  });
  const rolledUpTo = () => Math.min(rollups.writtenUpTo(), labelRollups.writtenUpTo());
  const retention = createRetention({ ...deps, store, rollupStore, rolledUpTo });
  const history = createHistory({ ...retention, store, seriesStore, rollups, labelRollups });
  const query = createMetricQuery({ ...deps, history, seriesStore });
  const fieldStore = createFieldStore(deps.database);
  const field = createFieldEvidence({ fieldStore, now: deps.now });

  return {
    /** Begins to put together what was stored before this process. */
    start(): void {
      rollups.start();
      labelRollups.start();
    },

    /** Whether charts are read from rollups. */
    isLive: rollups.isLive,

    /** What lets old telemetry go. */
    keepers: retention.keepers as readonly Keeper[],

    /** Stores each item once by (device, epoch, sequence); resolves when all of the batch is durable. */
    ingest: async (deviceId: string, batch: TelemetryBatch): Promise<TelemetryAck> =>
      ingest.add(deviceId, { bytes: batch.items.length * itemBytes, sent: batch }),

    /** The same for a batch as it came in a message. @throws AppError `invalid_request` when it is none */
    take: async (deviceId: string, payload: Uint8Array): Promise<TelemetryAck> =>
      ingest.add(deviceId, { bytes: unpackedBytes(payload), sent: payload }),

    bytesHeld: ingest.bytesHeld,

    /** `handler` hears when devices should not be read for a while, and when they may be again. */
    onPressure(handler: (high: boolean) => void): void {
      pressed = handler;
    },

    /** Notes a message that was not understood; never waits and never throws. */
    malformed: quarantine.note,

    /** What of a device was not understood. */
    malformedOf: quarantine.of,

    /** @throws AppError `invalid_request` naming the parameter that is wrong */
    query: (asked: MetricQuestion): Promise<MetricResult> => query(asked),

    /**
     * Requests that the model answered or failed (invalid ones left out) in windows that ended after `since`. What ran under
     * the number and is not the registered release is never among them.
     */
    evidence: (asked: EvidenceQuery): Promise<{ requests: number; failed: number }> => sumEvidence(store, asked),

    /** What the versions of a rollout answered, for its gates; undefined before a device was given the new one. */
    fieldEvidence: (asked: FieldQuery): Promise<FieldEvidence | undefined> => field.evidence(asked),

    /** What devices answer in an hour with versions other than this one. */
    traffic: (asked: Omit<LastPeriodQuery, 'startedAt'>): Promise<Traffic> =>
      readTraffic(fieldStore, { ...asked, startedAt: deps.now() }),

    /** Everything merged over devices and time, and of how many windows; undefined when there are none. */
    merged: (asked: MergeQuery): Promise<{ window: Window; windows: number } | undefined> => mergeAll(history, asked),

    /** The same for each device by itself, with only these features kept. */
    mergedByDevice: (asked: MergeQuery, features: ReadonlySet<string>): Promise<Map<string, Window>> =>
      mergeByDevice(store, asked, features),

    /** Labels of predictions made in this time, and how many of those predictions were right. */
    labelsBetween: (span: Span): Promise<{ labels: number; correct: number }> => store.countLabels(span),

    /** Of labels of this time that are numbers, as the predictions are: how far these were off. Null when there are none. */
    labelledNumbers: (span: Span) => store.sumErrors(span),

    /** By version and step (of their start): windows and the requests in them. Without `stepMs` one step, 0. */
    async activity({ model, from, to, stepMs }: ActivityQuery): Promise<Activity[]> {
      const steps = new Map<string, Activity>();
      await history.sums({ model, from, to, stepMs, columns: ['version'] }, (share) => {
        const at = stepMs === undefined ? 0 : share.at - (share.at % stepMs);
        const key = `${share.version} ${at}`;
        const step = steps.get(key) ?? { version: Number(share.version), at, windows: 0, requests: 0 };
        steps.set(key, step);
        step.windows += share.windows;
        step.requests += share.succeeded + share.failed + share.invalid;
      });
      return [...steps.values()];
    },

    /** By version and step (of the prediction): labels and how many were right. */
    async labelActivity({ model, from, to, stepMs }: ActivityQuery): Promise<LabelActivity[]> {
      const rows = await seriesStore.labelSums({ model, from, to }, { stepMs, columns: ['version'] });
      return rows.map(({ version, bucket, labels, correct }) => ({
        ...{ version: Number(version), at: bucket, labels, correct },
      }));
    },

    /** Model versions with windows since then. */
    versionsSince: (from: number): Promise<{ model: string; version: number }[]> => seriesStore.versionsSince(from),

    /** Grows with each commit that brought windows of the model. */
    storedOf: (model: string): number => commits.get(model) ?? 0,

    /** Calls `handler` after each commit with what was new. */
    onStored(handler: StoredHandler): void {
      handlers.push(handler);
    },

    /** Labels of these models came another way than from devices, and are stored. */
    labelled(models: ReadonlySet<string>): void {
      for (const model of models) {
        noteNews(model);
        field.onLabelled(model);
      }
    },

    /** Writes down what is put together of windows so far, as happens now and then. */
    async flush(): Promise<void> {
      await rollups.flush();
      await labelRollups.flush();
    },

    /** Waits until all that was taken in is stored. */
    async close(): Promise<void> {
      await ingest.idle();
      await decoder.close();
      await quarantine.close();
      await rollups.close();
      await labelRollups.close();
      changed.close();
    },
  };

  function noteNews(model: string): void {
    commits.set(model, (commits.get(model) ?? 0) + 1);
    changed.call(model);
  }

  function onStored(stored: Stored): void {
    const models = new Set([...stored.windows.map(({ head }) => head.model), ...stored.labels.map((l) => l.model)]);
    for (const model of models) noteNews(model);
    rollups.onStored(stored.windows, stored.fleet);
    labelRollups.onStored(stored.windows);
    field.onStored(stored);
    for (const handler of handlers) handler(stored);
  }
}

async function sumEvidence(
  store: TelemetryStore,
  { model, version, assigned }: EvidenceQuery,
): Promise<{ requests: number; failed: number }> {
  const bySince = new Map<number, string[]>();
  for (const { deviceId, since } of assigned) {
    const devices = bySince.get(since) ?? [];
    devices.push(deviceId);
    bySince.set(since, devices);
  }
  const sums = { requests: 0, failed: 0 };
  for (const [since, devices] of bySince) {
    const { succeeded, failed } = await store.countEvidence({ model, version, since, devices });
    sums.requests += succeeded + failed;
    sums.failed += failed;
  }
  return sums;
}

async function mergeAll(history: History, asked: MergeQuery) {
  const merge = createWindowMerge();
  let count = 0;
  await history.full(asked, (window, windows) => {
    merge.add(window);
    count += windows;
  });
  const window = merge.result();
  return window && { window, windows: count };
}

async function mergeByDevice(store: TelemetryStore, asked: MergeQuery, features: ReadonlySet<string>) {
  const merges = new Map<string, WindowMerge>();
  for await (const { deviceId, body } of store.bodies(asked, Window)) {
    const merge = merges.get(deviceId) ?? createWindowMerge();
    merges.set(deviceId, merge);
    const { signals = {}, categories = {} } = body;
    const picked = { signals: pick(signals, features), categories: pick(categories, features) };
    merge.add({ ...body, ...picked, features: pick(body.features, features) });
  }
  return new Map([...merges].flatMap(([id, merge]) => [[id, merge.result()] as const]).filter(isPresent));
}

function pick<T>(record: Readonly<Record<string, T>>, keys: ReadonlySet<string>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => keys.has(key)));
}

function isPresent<K, V>(entry: readonly [K, V | undefined]): entry is readonly [K, V] {
  return entry[1] !== undefined;
}
