// What becomes of the outbox when it is over its budget: windows are merged before anything is dropped, and what is
// dropped is counted. Pure.
import type { Loss, TelemetryItem, Window } from '@edgeloop/shared/telemetry';
import { mergeKey, mergeWindows, sizeOf } from './merge.ts';

export interface OutboxItem {
  sequence: number;
  bytes: number;
  item: TelemetryItem;
  /** Only items of one epoch are merged: another device may tell those of former epochs one by one. */
  epoch?: number;
}

export interface Shrunk {
  /** In the order of their numbers. */
  kept: OutboxItem[];
  lost: Omit<Loss, 'kind'>;
}

/**
 * Makes `items`, in the order of their numbers, fit into `budgetBytes`: merges neighbouring windows of the same model
 * version, oldest first, as often as that helps; then drops the oldest. A merged window keeps the higher number and is never larger than
 * `maxItemBytes`.
 */
export function shrink(items: readonly OutboxItem[], budgetBytes: number, maxItemBytes: number): Shrunk {
  let kept = [...items];
  for (let before = Number.POSITIVE_INFINITY; total(kept) > budgetBytes && kept.length < before; ) {
    before = kept.length;
    kept = mergeRound(kept, total(kept) - budgetBytes, maxItemBytes);
  }
  const lost = { windows: 0, requests: 0, labels: 0 };
  let size = total(kept);
  while (size > budgetBytes) {
    const oldest = kept.shift();
    if (oldest === undefined) break;
    size -= oldest.bytes;
    countLoss(lost, oldest.item);
  }
  return { kept, lost };
}

/** One pass over the items that merges pairs until `excessBytes` are saved. */
function mergeRound(items: readonly OutboxItem[], excessBytes: number, maxItemBytes: number): OutboxItem[] {
  const result: (OutboxItem | undefined)[] = [];
  const open = new Map<string, number>();
  let saved = 0;
  for (const current of items) {
    const { item } = current;
    if (item.kind !== 'window' || saved >= excessBytes) {
      result.push(current);
      continue;
    }
    const key = `${current.epoch} ${mergeKey(item)}`;
    const at = open.get(key);
    const earlier = at === undefined ? undefined : result[at];
    const merged = earlier?.item.kind === 'window' ? join(earlier.item, current, maxItemBytes) : undefined;
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

function join(earlier: Window, { item, ...rest }: OutboxItem, maxItemBytes: number): OutboxItem | undefined {
  if (item.kind !== 'window') return undefined;
  const merged = mergeWindows(earlier, item);
  const bytes = sizeOf(merged);
  return bytes > maxItemBytes ? undefined : { ...rest, bytes, item: merged };
}

function countLoss(lost: Omit<Loss, 'kind'>, item: TelemetryItem): void {
  if (item.kind === 'window') {
    lost.windows += 1;
    lost.requests += requestsIn(item);
  } else if (item.kind === 'labels') lost.labels += item.labels.length;
  else {
    lost.windows += item.windows;
    lost.requests += item.requests;
    lost.labels += item.labels;
  }
}

/** Requests of every outcome in a window. */
export function requestsIn({ succeeded, invalid, failed }: Window): number {
  return succeeded + invalid + Object.values(failed).reduce((sum, count) => sum + count, 0);
}

function total(items: readonly OutboxItem[]): number {
  return items.reduce((sum, { bytes }) => sum + bytes, 0);
}
