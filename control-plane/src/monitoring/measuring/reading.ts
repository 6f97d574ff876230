// What is measured for a rule: one reading for each group.

export interface Reading {
  /** What it is of: `{"model": "m", "version": "2"}`, `{"device": "cam1"}`; empty without groups. */
  labels: Readonly<Record<string, string>>;
  /** Null: nothing to measure. */
  value: number | null;
  /** Requests, labels or devices that it is made of; null where any value counts. */
  evidence: number | null;
  /** A share of its evidence, so that chance is known. */
  isShare: boolean;
  /** What it was before, for rules that compare with that; undefined: nothing to compare with. */
  past?: { value: number; of: string } | undefined;
  /** For rules about anomalies; undefined: too few peers, and too short a past. */
  unlike?: Unlike | undefined;
  /** For rules about silence. */
  silence?: Silence | undefined;
  /** Devices that it is about, where that is known. */
  devices: readonly string[];
  /** More, for people. */
  detail: string;
}

export interface Unlike {
  /** What is usual. */
  expected: number;
  /** How far from it, in robust deviations, with its sign. */
  score: number;
  /** With what it was compared. */
  of: string;
}

export interface Silence {
  /** For how long nothing came, while this server was listening. */
  silentMs: number;
  /** The longest pause before. */
  longestPauseMs: number;
  /** Steps in which something came, and how much in all. */
  activeSteps: number;
  total: number;
}

/** The same for the same labels, whatever their order. */
export function subjectOf(labels: Reading['labels']): string {
  const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return sorted.length === 0 ? '' : JSON.stringify(Object.fromEntries(sorted));
}
