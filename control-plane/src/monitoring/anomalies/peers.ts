// How far a device is from others of its kind at the same time: what happens to all of them is no anomaly of one. Median and MAD
// over the peers, so that a few that are off move neither (Rousseeuw and Croux, JASA 88, 1993).
import { madToDeviation, quantileOf } from './own-past.ts';

export interface Distance {
  /** In robust standard deviations of the peers, with its sign. */
  score: number;
  /** The middle of the peers. */
  expected: number;
  peers: number;
}

/** Fewer say nothing about what is usual. */
const fewestPeers = 5;
/** Peers that agree to the last digit: a twentieth of their middle is still the same. */
const leastShare = 0.05;

/** Of each device with a known value among its peers; those with too few have none. `values` are all of one kind and time. */
export function distances(values: ReadonlyMap<string, number>): Map<string, Distance> {
  const found = new Map<string, Distance>();
  const sorted = [...values.values()].sort((a, b) => a - b);
  if (sorted.length <= fewestPeers) return found;
  const expected = quantileOf(sorted, 0.5);
  const away = sorted.map((each) => Math.abs(each - expected)).sort((a, b) => a - b);
  const deviation = Math.max(madToDeviation * quantileOf(away, 0.5), Math.abs(expected) * leastShare, 1e-9);
  for (const [id, value] of values)
    found.set(id, { score: (value - expected) / deviation, expected, peers: sorted.length - 1 });
  return found;
}
