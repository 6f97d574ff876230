// Whether a trained model may take its champion's place: the rule of the pipeline applied to what was measured.
import type { Evaluation, PipelineSpec } from '@edgeloop/shared/api/training';
import { type PairedCounts, pairedGain } from './comparison.ts';

/** What the challenger was measured against. */
export type Rival =
  | { kind: 'champion'; version: number; counts: PairedCounts }
  /** There is no version yet; the rival always answers the most frequent class of the training rows. */
  | { kind: 'majority'; counts: PairedCounts }
  | { kind: 'incomparable'; version: number; reason: string; challenger: PairedCounts };

/**
 * A challenger wins when there are enough rows and the lower bound of its gain is above `minGain`; as the first
 * version, above 0. Without a comparison it does not win.
 */
export function judge(rival: Rival, rule: PipelineSpec['evaluation']): Evaluation {
  const counts = rival.kind === 'incomparable' ? rival.challenger : rival.counts;
  const { rows, challenger, rival: other, gain } = pairedGain(counts, rule.confidence);
  const measured = { rows, challenger, champion: null, championVersion: null, gain: null, won: false };
  const accuracy = `accuracy ${percent(challenger)} on ${rows} held-out rows`;
  if (rival.kind === 'incomparable') {
    const detail = `${accuracy}; not comparable with version ${rival.version}: ${rival.reason}`;
    return { ...measured, championVersion: rival.version, detail };
  }
  const enough = rows >= rule.minRows;
  const few = enough ? '' : `; nothing is decided on fewer than ${rule.minRows} rows`;
  const bound = rival.kind === 'champion' ? rule.minGain : 0;
  const won = enough && gain.low > bound;
  const verdict = `gain ${points(gain.value)} (${percent(rule.confidence)} interval ${points(gain.low)} to ${points(gain.high)}, must be above ${points(bound)})`;
  if (rival.kind === 'majority') {
    const detail = `${accuracy}; the first version, against ${percent(other)} of always answering the most frequent class: ${verdict}${few}`;
    return { ...measured, won, detail };
  }
  const detail = `${accuracy}, version ${rival.version} has ${percent(other)}: ${verdict}${few}`;
  return { rows, challenger, champion: other, championVersion: rival.version, gain, won, detail };
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

function points(share: number): string {
  return `${(share * 100).toFixed(1)} points`;
}
