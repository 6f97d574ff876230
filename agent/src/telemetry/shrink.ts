// What becomes of the outbox when it is over its budget or too old: windows are merged before anything is dropped for want of room,
// what is dropped is counted, and the word of what was lost stays. Pure.
import type { Loss, TelemetryItem, Window } from '@edgeloop/shared/telemetry';
import { mergeKey, mergeWindows, sizeOf } from './merge.ts';

export interface OutboxItem {
  sequence: number;
  bytes: number;
  item: TelemetryItem;
  /** Only items of one epoch are merged: another device may tell those of former epochs one by one. */
  epoch?: number;
}

export type Lost = Omit<Loss, 'kind'>;

export interface Shrunk {
  /** In the order of their numbers. */
  kept: OutboxItem[];
  lost: Lost;
}

/** Gives up what tells of too long ago. */
export function giveUpOld(items: readonly OutboxItem[], isTooOld: (item: OutboxItem) => boolean): Shrunk {
  const lost = nothingLost();
  const kept = items.filter((each) => {
    const stays = each.item.kind === 'loss' || !isTooOld(each);
    if (!stays) countLoss(lost, each.item);
    return stays;
  });
  return { kept, lost };
}

/**
 * Makes `items`, in the order of their numbers, fit into `budgetBytes`: merges neighbouring windows of the same model
 * version, oldest first, as often as that helps; then drops the oldest, but never the word of what was lost before. What is merged keeps
 * the higher number and is never larger than `maxItemBytes`.
 */
export function shrink(items: readonly OutboxItem[], budgetBytes: number, maxItemBytes: number): Shrunk {
  let kept = [...items];
  for (let before = Number.POSITIVE_INFINITY; total(kept) > budgetBytes && kept.length < before; ) {
    before = kept.length;
    kept = mergeRound(kept, total(kept) - budgetBytes, maxItemBytes);
  }
  const lost = nothingLost();
  let excess = total(kept) - budgetBytes;
  kept = kept.filter(({ bytes, item }) => {
    if (excess <= 0 || item.kind === 'loss') return true;
    excess -= bytes;
    countLoss(lost, item);
    return false;
  });
  return { kept, lost };
}

/** One pass over the items that merges pairs until `excessBytes` are saved. */
function mergeRound(items: readonly OutboxItem[], excessBytes: number, maxItemBytes: number): OutboxItem[] {
  const result: (OutboxItem | undefined)[] = [];
  const open = new Map<string, number>();
  let saved = 0;
  for (const current of items) {
    const { item } = current;
    if (item.kind === 'labels' || saved >= excessBytes) {
      result.push(current);
      continue;
    }
    const key = `${current.epoch} ${item.kind === 'window' ? mergeKey(item) : item.kind}`;
    const at = open.get(key);
    const earlier = at === undefined ? undefined : result[at];
    const merged = earlier === undefined ? undefined : join(earlier.item, current, maxItemBytes);
    if (at === undefined || earlier === undefined || merged === undefined) {
      open.set(key, result.push(current) - 1);
      continue;
    }
    result[at] = undefined;
    result.push(merged);
    open.delete(key);
    saved += earlier.bytes + current.bytes - merged.bytes;
  }
  return result.filter((each) => each !== undefined);
}

function join(earlier: TelemetryItem, { item, ...rest }: OutboxItem, maxItemBytes: number): OutboxItem | undefined {
  const merged = sumOf(earlier, item);
  if (merged === undefined) return undefined;
  const bytes = sizeOf(merged);
  return bytes > maxItemBytes ? undefined : { ...rest, bytes, item: merged };
}

function sumOf(a: TelemetryItem, b: TelemetryItem): TelemetryItem | undefined {
  if (a.kind === 'window' && b.kind === 'window') return mergeWindows(a, b);
  if (a.kind === 'loss' && b.kind === 'loss') return { kind: 'loss', ...addedLoss(a, b) };
  return undefined;
}

export function addedLoss(a: Lost, b: Lost): Lost {
  return { windows: a.windows + b.windows, requests: a.requests + b.requests, labels: a.labels + b.labels };
}

function nothingLost(): Lost {
  return { windows: 0, requests: 0, labels: 0 };
}

function countLoss(lost: Lost, item: TelemetryItem): void {
  if (item.kind === 'window') {
    lost.windows += 1;
    lost.requests += requestsIn(item);
  } else if (item.kind === 'labels') lost.labels += item.labels.length;
}

/** Requests of every outcome in a window. */
export function requestsIn({ succeeded, invalid, failed }: Window): number {
  return succeeded + invalid + Object.values(failed).reduce((sum, count) => sum + count, 0);
}

function total(items: readonly OutboxItem[]): number {
  return items.reduce((sum, { bytes }) => sum + bytes, 0);
}
