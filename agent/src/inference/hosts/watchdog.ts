// Tells of runs that take long: at first, so that nobody else waits for them; and once more when they exceed their bounds,
// since nothing but the end of the process stops such a run.
import type { Lane } from './lane.ts';

export interface WatchdogOptions<L extends Lane> {
  lanes(): readonly L[];
  /** After so many milliseconds a run is late. */
  lateMs: number;
  onLate(lane: L, model: number): void;
  /** Milliseconds that a run of this model may take at most. */
  maxRunMs(model: number): number;
  /** Milliseconds of processor time that are far beyond what runs such as the present one took before; undefined: unknown. */
  farBeyondMs(lane: L, model: number): number | undefined;
  /** `tookMs`: how long the run has gone on. */
  onStuck(lane: L, model: number, tookMs: number): void;
  nowMs(): number;
}

interface Seen {
  runs: number;
  sinceMs: number;
  told: 'nothing' | 'late' | 'stuck';
  /** Of its thread, when the run was late; undefined where it is not told. */
  processorMs: number | undefined;
}

/** More time than this has not gone by between two looks: the machine stood still, or this process did. */
const longestPauseMs = 1000;

/** Looks once; to be called a few times a second. */
export function createWatchdog<L extends Lane>(options: WatchdogOptions<L>): () => void {
  const { lanes, lateMs, onLate, maxRunMs, farBeyondMs, onStuck } = options;
  const seen = new WeakMap<L, Seen>();
  let lookedMs = options.nowMs();
  let nowMs = 0;

  const lookAt = (lane: L): void => {
    const runs = lane.thread.runs();
    const last = seen.get(lane);
    if (last?.runs !== runs) {
      seen.set(lane, { runs, sinceMs: nowMs, told: 'nothing', processorMs: undefined });
      return;
    }
    const running = runs % 2 !== 0;
    if (!running || last.told === 'stuck') return;
    const tookMs = nowMs - last.sinceMs;
    const model = lane.thread.running();
    if (last.told === 'nothing' && tookMs >= lateMs) {
      last.told = 'late';
      last.processorMs = lane.thread.processorMs();
      onLate(lane, model);
    }
    if (last.told === 'nothing') return;
    if (
      tookMs < maxRunMs(model) &&
      computedMs(lane, last, tookMs) < (farBeyondMs(lane, model) ?? Number.POSITIVE_INFINITY)
    )
      return;
    last.told = 'stuck';
    onStuck(lane, model, tookMs);
  };

  /** What the run took of the processor: on a busy machine that is less than the time that went by. */
  const computedMs = (lane: L, { processorMs: before }: Seen, tookMs: number): number => {
    const processorMs = lane.thread.processorMs();
    if (processorMs === undefined || before === undefined) return tookMs;
    return processorMs - before;
  };

  return () => {
    const readMs = options.nowMs();
    nowMs += Math.min(longestPauseMs, readMs - lookedMs);
    lookedMs = readMs;
    lanes().forEach(lookAt);
  };
}
