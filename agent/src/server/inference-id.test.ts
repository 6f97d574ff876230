import { describe, expect, it } from 'vitest';
import { createInferenceIds } from './inference-id.ts';

describe('an inference id', () => {
  const inferenceIdAt = createInferenceIds();

  it('is a UUID of version 7 that tells its time', () => {
    const id = inferenceIdAt(0x0192_f0aa_bbcc);
    expect(id).toMatch(/^0192f0aa-bbcc-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(inferenceIdAt(1)).toMatch(/^00000000-0001-7/);
  });

  it('is never given twice, and sorts by time', () => {
    const ids = Array.from({ length: 1000 }, (_, i) => inferenceIdAt(1_700_000_000_000 + i));
    expect(ids.toSorted()).toEqual(ids);
    expect(new Set(Array.from({ length: 1000 }, () => inferenceIdAt(1))).size).toBe(1000);
  });
});
