// The bins of a signal in the reference and in what was judged, as shares beside each other.
import type { ComparedHistogram } from '@edgeloop/shared/api/alerts';
import { formatNumber, formatShare } from '../format.ts';

const width = 240;
const height = 48;

export function ComparedBins({ title, histogram }: { title: string; histogram: ComparedHistogram }) {
  const before = sharesOf(histogram.before);
  const after = sharesOf(histogram.after);
  const most = Math.max(1e-9, ...before, ...after);
  const step = width / before.length;
  const tall = (share: number) => (height * share) / most;
  return (
    <figure class="compared-bins">
      <svg viewBox={`0 0 ${width} ${height}`} role="img" aria-label={`${title}: before and after`}>
        {before.map((share, bin) => {
          const now = after[bin] ?? 0;
          const name = binName(histogram, bin);
          return (
            <g key={name}>
              <title>{`${name}: ${formatShare(share)} before, ${formatShare(now)} after`}</title>
              <rect
                class="bin-before"
                x={bin * step}
                y={height - tall(share)}
                width={step * 0.9}
                height={tall(share)}
              />
              <rect class="bin-after" x={bin * step} y={height - tall(now)} width={step * 0.9} height={tall(now)} />
            </g>
          );
        })}
      </svg>
      <figcaption class="muted small">{title}: filled before, outlined after</figcaption>
    </figure>
  );
}

function sharesOf(counts: readonly number[]): number[] {
  const all = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count) => count / Math.max(1, all));
}

function binName({ edges, names }: ComparedHistogram, bin: number): string {
  if (names !== undefined) return names[bin] ?? '';
  const [from, to] = [edges?.[bin - 1], edges?.[bin]];
  if (from === undefined && to === undefined) return 'missing';
  if (from === undefined) return `below ${formatNumber(to ?? 0)}`;
  if (to !== undefined) return `${formatNumber(from)} to ${formatNumber(to)}`;
  return bin === edges?.length ? `above ${formatNumber(from)}` : 'missing';
}
