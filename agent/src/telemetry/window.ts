// Turns journal records into one telemetry window per release of a model version. Pure: the same records give the same windows,
// so a journal can be folded again after any crash.
import { featureNames, type Manifest } from '@edgeloop/shared/manifest';
import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { addValue, emptyHistogram, type Histogram } from '@edgeloop/shared/sketches/histogram';
import type { ShadowWindow, Window } from '@edgeloop/shared/telemetry';
import { WindowPartsSum } from '@edgeloop/shared/window-parts';
import type { JournalRecord, Summary } from './record.ts';
import { summaryFields } from './summary/fields.ts';
import { mostNamedFeatures } from './summary/request.ts';

/** The manifest of a version, or undefined when its files are gone. `release` tells two releases of one number apart. */
export type ManifestOf = (name: string, version: number, release: string | undefined) => Manifest | undefined;

/** Histograms of the features that have a reference, each with its column among the features. */
interface FeatureColumn {
  column: number;
  edges: readonly number[];
  histogram: Histogram;
}

interface OpenWindow {
  model: string;
  version: number;
  release: string | undefined;
  variant: string | undefined;
  startedAt: number;
  endedAt: number;
  succeeded: number;
  invalid: number;
  rows: number;
  failed: Record<string, number>;
  classes: Record<string, number>;
  latency: QuantileSketchBuilder;
  width: number;
  columns: Map<string, FeatureColumn>;
  /** Features that have none, with their columns: their sketches find their own bins. */
  others: { name: string; column: number }[];
  parts: WindowPartsSum;
  confidence: { edges: readonly number[]; histogram: Histogram } | undefined;
  shadow: OpenShadow | undefined;
}

interface OpenShadow extends Omit<ShadowWindow, 'difference' | 'latencyMs' | 'formerMs'> {
  difference: QuantileSketchBuilder;
  latency: QuantileSketchBuilder;
  former: QuantileSketchBuilder;
}

/** Nothing of a version, for what else there is to say of it. */
export function emptyWindow(of: Pick<Window, 'model' | 'version' | 'release'>, at: number): Window {
  return {
    ...{ kind: 'window', ...of, startedAt: at, endedAt: at, succeeded: 0, failed: {}, invalid: 0, rows: 0 },
    ...{ latencyMs: new QuantileSketchBuilder().toJSON(), features: {}, classes: {} },
  };
}

export interface WindowSet {
  /** `stretch` of the clock that dated it: a window is of one. */
  add(record: JournalRecord, stretch?: number): void;
  /** Windows in the order of their first record; the set stays as it is. */
  windows(recovered: boolean): Window[];
}

export function createWindowSet(manifestOf: ManifestOf): WindowSet {
  const open = new Map<string, OpenWindow>();
  return {
    add(record, stretch = 0) {
      // Two releases of one number are two models, and so are two files of one release.
      const beside = record.shadow && `${record.shadow.version}@${record.shadow.release ?? ''}`;
      const own = `${record.model}@${record.version}@${record.release ?? ''}@${record.variant ?? ''}`;
      const key = `${own} ${beside ?? ''} ${stretch}`;
      const window = open.get(key) ?? openWindow(record, manifestOf);
      open.set(key, window);
      addRecord(window, record);
    },
    windows: (recovered) => [...open.values()].map((window) => closeWindow(window, recovered)),
  };
}

function openWindow(
  { model, version, release, variant, at, shadow }: JournalRecord,
  manifestOf: ManifestOf,
): OpenWindow {
  // Nobody was answered with what a shadow says: its windows have nothing of what a manifest names.
  const manifest: Manifest | undefined = shadow ? undefined : manifestOf(model, version, release);
  const reference = manifest?.monitoring.reference;
  const names = manifest === undefined ? [] : featureNames(manifest);
  const columns = new Map<string, FeatureColumn>();
  for (const [column, name] of names.entries()) {
    const edges = reference?.features[name]?.edges;
    if (edges !== undefined) columns.set(name, { column, edges, histogram: emptyHistogram(edges) });
  }
  const others = names.map((name, column) => ({ name, column })).filter(({ name }) => !columns.has(name));
  const edges = reference?.confidence?.edges;
  return {
    model,
    version,
    release,
    variant,
    startedAt: at,
    endedAt: at,
    succeeded: 0,
    invalid: 0,
    rows: 0,
    failed: {},
    classes: {},
    latency: new QuantileSketchBuilder(),
    width: names.length,
    columns,
    others: others.length > mostNamedFeatures ? [] : others,
    parts: new WindowPartsSum(),
    confidence: edges === undefined ? undefined : { edges, histogram: emptyHistogram(edges) },
    shadow: shadow && openShadow(shadow),
  };
}

function openShadow({ version, release }: NonNullable<JournalRecord['shadow']>): OpenShadow {
  return {
    version,
    ...(release === undefined ? {} : { release }),
    ...{ compared: 0, agreed: 0, failed: {}, skipped: 0 },
    difference: new QuantileSketchBuilder(),
    latency: new QuantileSketchBuilder(),
    former: new QuantileSketchBuilder(),
  };
}

function addShadow(window: OpenShadow, { outcome, latencyMs, shadow }: JournalRecord): void {
  window.skipped += shadow?.skipped ?? 0;
  if (outcome !== 'ok') {
    window.failed[outcome] = (window.failed[outcome] ?? 0) + 1;
    return;
  }
  window.compared += shadow?.compared ?? 0;
  window.agreed += shadow?.agreed ?? 0;
  window.latency.add(latencyMs);
  window.former.add(shadow?.formerMs ?? 0);
  for (const difference of shadow?.differences ?? []) window.difference.add(difference);
}

function addRecord(window: OpenWindow, record: JournalRecord): void {
  // The clock may have jumped: a window spans all its records.
  window.startedAt = Math.min(window.startedAt, record.at);
  window.endedAt = Math.max(window.endedAt, record.at);
  if (window.shadow !== undefined) {
    addShadow(window.shadow, record);
    return;
  }
  if (record.outcome === 'invalid') {
    window.invalid += 1;
    return;
  }
  if (record.outcome !== 'ok') {
    window.failed[record.outcome] = (window.failed[record.outcome] ?? 0) + 1;
    return;
  }
  window.succeeded += 1;
  window.rows += record.rows;
  window.latency.add(record.latencyMs);
  for (const label of record.predicted ?? []) window.classes[label] = (window.classes[label] ?? 0) + 1;
  const { confidence, parts } = window;
  parts.ran(record.queueMs, record.batchRows);
  if (record.value !== undefined) parts.value('output:value', record.value);
  for (const score of record.scores ?? [])
    if (confidence === undefined) parts.value('output:confidence', score);
    else addValue(confidence.histogram, confidence.edges, score);
  if (record.features !== undefined) addFeatures(window, record.features);
  if (record.summaries === undefined) return;
  parts.sample('requests', 1);
  for (const summary of record.summaries) addSummary(window, summary);
  for (const [name, texts] of Object.entries(record.texts ?? {})) for (const text of texts) parts.category(name, text);
}

function addFeatures({ width, columns, others, parts }: OpenWindow, features: Float32Array): void {
  if (width === 0 || features.length % width !== 0) return;
  parts.sample('features', features.length / width);
  for (let row = 0; row < features.length; row += width) {
    for (const { column, edges, histogram } of columns.values())
      addValue(histogram, edges, features[row + column] ?? Number.NaN);
    for (const { name, column } of others) parts.value(name, features[row + column] ?? Number.NaN);
  }
}

function addSummary({ columns, parts }: OpenWindow, { of, name, values }: Summary): void {
  if (of === 'values') {
    const known = columns.get(name);
    for (const value of values)
      if (known === undefined) parts.value(name, value);
      else addValue(known.histogram, known.edges, value);
    return;
  }
  if (of !== 'picture' && of !== 'sound' && of !== 'tensor') return;
  const fields = summaryFields[of];
  // One picture behind the other.
  for (const [at, value] of values.entries()) parts.value(`${name}:${fields[at % fields.length]}`, value);
}

function closeWindow(open: OpenWindow, recovered: boolean): Window {
  return {
    kind: 'window',
    model: open.model,
    version: open.version,
    ...(open.release === undefined ? {} : { release: open.release }),
    ...(open.variant === undefined ? {} : { variant: open.variant }),
    startedAt: open.startedAt,
    endedAt: open.endedAt,
    succeeded: open.succeeded,
    failed: open.failed,
    invalid: open.invalid,
    rows: open.rows,
    latencyMs: open.latency.toJSON(),
    features: Object.fromEntries([...open.columns].map(([name, { histogram }]) => [name, histogram])),
    confidence: open.confidence?.histogram,
    classes: open.classes,
    ...(recovered ? { recovered: true } : {}),
    ...open.parts.result(),
    ...(open.shadow === undefined ? {} : { shadow: closeShadow(open.shadow) }),
  };
}

function closeShadow({ difference, latency, former, ...counts }: OpenShadow): ShadowWindow {
  return { ...counts, difference: difference.toJSON(), latencyMs: latency.toJSON(), formerMs: former.toJSON() };
}
