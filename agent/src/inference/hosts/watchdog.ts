// Tells of runs that take long: at first, so that nobody else waits for them; and once more when they exceed their bound,
// since nothing but the end of the process stops such a run.
import type { Lane } from './lane.ts';

export interface WatchdogOptions<L extends Lane> {
  lanes(): readonly L[];
  /** After so many milliseconds a run is late. */
  lateMs: number;
  onLate(lane: L, model: number): void;
  /** Milliseconds that a run of this model may take. */
  maxRunMs(model: number): number;
  onStuck(lane: L, model: number): void;
  nowMs(): number;
}

interface Seen {
  runs: number;
  sinceMs: number;
  told: 'nothing' | 'late' | 'stuck';
}

/** Looks once; to be called a few times a second. */
export function createWatchdog<L extends Lane>(options: WatchdogOptions<L>): () => void {
  const { lanes, lateMs, onLate, maxRunMs, onStuck, nowMs } = options;
  const seen = new WeakMap<L, Seen>();

  const lookAt = (lane: L): void => {
    const runs = lane.thread.runs();
    const last = seen.get(lane);
    if (last?.runs !== runs) {
      seen.set(lane, { runs, sinceMs: nowMs(), told: 'nothing' });
      return;
    }
    const running = runs % 2 !== 0;
    if (!running) return;
    const tookMs = nowMs() - last.sinceMs;
    const model = lane.thread.running();
    if (last.told === 'nothing' && tookMs >= lateMs) {
      last.told = 'late';
      onLate(lane, model);
    }
    if (last.told !== 'stuck' && tookMs >= maxRunMs(model)) {
      last.told = 'stuck';
      onStuck(lane, model);
    }
  };

  return () => lanes().forEach(lookAt);
}
