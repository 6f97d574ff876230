// A window as it is stored: its columns, of which most of the work needs no more, and the whole of it only for whoever asks.
import { Window } from '@edgeloop/shared/telemetry';
import { pack, unpack } from '../database/packed.ts';
import type { ItemKey } from './number-store.ts';
import { packSketch } from './packed-sketch.ts';
import { confidenceOf } from './rollup.ts';

/** What is counted of a window. */
export type WindowHead = Pick<
  Window,
  | ('model' | 'version' | 'release' | 'startedAt' | 'endedAt')
  | ('succeeded' | 'failed' | 'invalid' | 'rows' | 'classes')
>;

/** Its other columns: the latencies as `packSketch` writes them, and the whole window as `pack` does. */
export interface WindowCells {
  latency: Buffer;
  confidenceSum: number;
  confidenceCount: number;
  body: Buffer;
}

export function cellsOf(window: Window): WindowCells {
  const { sum, count } = confidenceOf(window);
  return {
    latency: packSketch(window.latencyMs),
    ...{ confidenceSum: sum, confidenceCount: count, body: pack(window) },
  };
}

export class WindowRow implements ItemKey {
  readonly deviceId: string;
  readonly epoch: number;
  readonly sequence: number;
  readonly receivedAt: number;
  readonly head: WindowHead;
  readonly cells: WindowCells;
  /** Grows with every window that is stored; 0 until it is. */
  arrival = 0;
  /** The device ran other bytes under the number than are registered; it is kept, and counts nowhere. */
  foreignRelease: string | null = null;
  #window: Window | undefined;

  constructor({ deviceId, epoch, sequence, receivedAt }: ItemKey & { receivedAt: number }, of: SentWindow) {
    this.deviceId = deviceId;
    this.epoch = epoch;
    this.sequence = sequence;
    this.receivedAt = receivedAt;
    this.head = of.head;
    this.cells = of.cells;
    this.#window = of.window;
  }

  get window(): Window {
    this.#window ??= Window.parse(unpack(this.cells.body));
    return this.#window;
  }
}

/** `window`: where it is at hand. */
export interface SentWindow {
  head: WindowHead;
  cells: WindowCells;
  window?: Window | undefined;
}

export function sentWindow(window: Window): SentWindow {
  return { head: window, cells: cellsOf(window), window };
}
