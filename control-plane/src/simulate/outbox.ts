// A simulated device's outbox, in memory: numbered items until the control plane says that it stored them, one batch in flight.
import type { TelemetryAck, TelemetryItem } from '@edgeloop/shared/telemetry';

interface Held {
  sequence: number;
  text: string;
}

/** As agents bound a message. */
const batchBytes = 200 * 1024;
const batchItems = 500;
const usualItems = 1000;
const aroundItem = 40;

export class SimulatedOutbox {
  readonly #epoch: number;
  readonly #mostItems: number;
  #held: Held[] = [];
  #next = 1;

  /** A device whose outbox is full makes no further window. */
  constructor(epoch: number, mostItems = usualItems) {
    this.#epoch = epoch;
    this.#mostItems = mostItems;
  }

  get waiting(): number {
    return this.#held.length;
  }

  get bytes(): number {
    return this.#held.reduce((sum, { text }) => sum + text.length, 0);
  }

  get isFull(): boolean {
    return this.#held.length >= this.#mostItems;
  }

  add(item: TelemetryItem): void {
    this.#held.push({ sequence: this.#next++, text: JSON.stringify(item) });
  }

  /** The oldest items that fit one message, as its text, and the highest number among them. */
  take(): { text: string; through: number; items: number } | undefined {
    const taken: Held[] = [];
    let bytes = 0;
    for (const held of this.#held) {
      bytes += held.text.length + aroundItem;
      if (taken.length === batchItems || (bytes > batchBytes && taken.length > 0)) break;
      taken.push(held);
    }
    const through = taken.at(-1)?.sequence;
    if (through === undefined) return undefined;
    const items = taken.map(({ sequence, text }) => `{"sequence":${sequence},"item":${text}}`);
    return { text: `{"epoch":${this.#epoch},"items":[${items.join()}]}`, through, items: taken.length };
  }

  /** How many items are stored now that were not known to be. */
  acknowledge({ epoch, sequence }: TelemetryAck): number {
    if (epoch !== this.#epoch) return 0;
    const left = this.#held.filter((held) => held.sequence > sequence);
    const stored = this.#held.length - left.length;
    this.#held = left;
    return stored;
  }
}
