// Ranked values as bars, each with the bound it is held against.
import { formatNumber } from '../format.ts';

interface Bar {
  name: string;
  value: number;
  /** Drawn as a tick; values above it are coloured as moved. */
  threshold?: number;
  /** Instead of the number. */
  text?: string;
}

export function Bars({ title, bars }: { title: string; bars: Bar[] }) {
  const greatest = Math.max(1e-9, ...bars.map((bar) => Math.max(bar.value, bar.threshold ?? 0)));
  const share = (value: number) => `${Math.max(0, Math.min(100, (100 * value) / greatest))}%`;
  return (
    <ul class="bars" aria-label={title}>
      {bars.map((bar) => {
        const moved = bar.threshold !== undefined && bar.value > bar.threshold;
        const bound = bar.threshold === undefined ? '' : `, threshold ${formatNumber(bar.threshold)}`;
        return (
          <li key={bar.name} title={`${bar.name}: ${formatNumber(bar.value)}${bound}`}>
            <span class="bar-name">{bar.name}</span>
            <span class="bar-track" aria-hidden="true">
              <span class={`bar-fill${moved ? ' moved' : ''}`} style={{ width: share(bar.value) }} />
              {bar.threshold !== undefined && <span class="bar-bound" style={{ left: share(bar.threshold) }} />}
            </span>
            <span class="bar-value">{bar.text ?? formatNumber(bar.value)}</span>
          </li>
        );
      })}
    </ul>
  );
}
