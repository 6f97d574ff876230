// Remembers, to the second, of what model versions and times telemetry came in since somebody last looked.
import type { Stored } from '../../telemetry/telemetry.ts';

export interface Arrival {
  model: string;
  version: number;
  kind: 'window' | 'label';
  /** Milliseconds since the epoch, a whole second. */
  at: number;
}

export function createArrivals() {
  let arrived = new Map<string, Arrival>();
  return {
    add({ windows, labels }: Stored): void {
      for (const { head } of windows) note({ ...head, kind: 'window', at: head.startedAt });
      for (const label of labels) note({ ...label, kind: 'label', at: label.predictedAt });
    },
    /** What came in since the last call. */
    take(): Arrival[] {
      const taken = [...arrived.values()];
      arrived = new Map();
      return taken;
    },
  };

  function note({ model, version, kind, at }: Arrival): void {
    const second = at - (at % 1000);
    arrived.set(`${kind} ${model} ${version} ${second}`, { model, version, kind, at: second });
  }
}
