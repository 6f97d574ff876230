import { describe, expect, it } from 'vitest';
import { formatAge, formatBytes, formatDuration, formatNumber, formatPoints, formatShare } from './format.ts';

describe('formats for people', () => {
  it('writes bytes in decimal units', () => {
    expect([0, 999, 1000, 1_234_567, 5e12].map(formatBytes)).toEqual(['0 B', '999 B', '1 kB', '1.23 MB', '5 TB']);
  });

  it('writes numbers with about three digits', () => {
    expect([0, 0.01234, 1.234, 12.34, 1234.5, 0.00001].map(formatNumber)).toEqual([
      '0',
      '0.012',
      '1.23',
      '12.3',
      '1,235',
      '1.0e-5',
    ]);
  });

  it('writes shares in percent, small ones with more digits, and differences in signed points', () => {
    expect([0, 0.0012, 0.5, 1].map(formatShare)).toEqual(['0 %', '0.12 %', '50 %', '100 %']);
    expect([0.123, -0.04, 0].map(formatPoints)).toEqual(['+12.3 points', '-4 points', '0 points']);
  });

  it('writes durations in their two greatest units', () => {
    expect([0, 59, 60, 125, 3600, 90_061].map(formatDuration)).toEqual([
      '0 s',
      '59 s',
      '1 min',
      '2 min 5 s',
      '1 h',
      '1 d 1 h',
    ]);
  });

  it('writes ages in one unit, and what lies ahead as such', () => {
    const now = 1_800_000_000_000;
    const at = (seconds: number) => formatAge(now - seconds * 1000, now);
    expect([2, 42, 300, 7200, 200_000, -90].map(at)).toEqual([
      'now',
      '42 s ago',
      '5 min ago',
      '2 h ago',
      '2 d ago',
      'in 2 min',
    ]);
  });
});
