// The demo's training rows as the CSV file that an ML engineer would upload.
import type { Sample } from './corpus/scenario.ts';

/** Feature columns, `label` and `part`: every fifth row is for validation, every tenth for testing. */
export function toCsv(featureNames: readonly string[], samples: readonly Sample[]): string {
  const header = [...featureNames, 'label', 'part'].map(quoted).join(',');
  const lines = samples.map((sample, i) => [...sample.features, quoted(sample.label), partOf(i)].join(','));
  return `${[header, ...lines].join('\n')}\n`;
}

function partOf(i: number): string {
  if (i % 10 === 9) return 'test';
  return i % 5 === 0 ? 'validation' : 'train';
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}
