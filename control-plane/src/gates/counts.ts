// Counts as gates take them: per device, since requests of one device resemble each other.

/** Hits among trials. Both may be fractions: evidence that is worth less than it counts. */
export interface Counts {
  hits: number;
  trials: number;
}

/** One entry a device. */
export type DeviceCounts = readonly Counts[];

export function sumOf(devices: DeviceCounts): Counts {
  let hits = 0;
  let trials = 0;
  for (const each of devices) {
    hits += each.hits;
    trials += each.trials;
  }
  return { hits, trials };
}

/** The same with hits and misses exchanged. */
export function missesOf(devices: DeviceCounts): Counts[] {
  return devices.map(({ hits, trials }) => ({ hits: trials - hits, trials }));
}

export function shareOf({ hits, trials }: Counts): number | null {
  return trials === 0 ? null : hits / trials;
}
