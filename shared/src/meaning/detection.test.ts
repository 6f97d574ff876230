import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DetectionOutputs } from '../detection-manifest.ts';
import type { NamedTensor } from '../tensor-data.ts';
import { type Candidate, detect as detectAll, overlap, type Seen, suppress } from './detection.ts';

const edge = fc.double({ min: 0, max: 100, noNaN: true });
const length = fc.double({ min: 0.1, max: 60, noNaN: true });
const candidate: fc.Arbitrary<Candidate> = fc
  .record({
    left: edge,
    top: edge,
    width: length,
    height: length,
    place: fc.nat(2),
    score: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ left, top, width, height, place, score }) => ({
    place,
    score,
    box: { left, top, right: left + width, bottom: top + height },
  }));
const bounds = fc.record({
  iouThreshold: fc.double({ min: 0, max: 1, noNaN: true }),
  maxDetections: fc.integer({ min: 1, max: 20 }),
});
/** What is seen, or why nothing can be. */
function detect(
  detection: DetectionOutputs,
  outputs: readonly NamedTensor[],
  size: { width: number; height: number },
  labels?: number,
): Seen[] | string {
  const found = detectAll({ detection, labels }, outputs, size);
  return typeof found === 'string' ? found : found.seen;
}
const floats = (name: string, shape: number[], data: number[]): NamedTensor => ({
  name,
  datatype: 'FP32',
  shape,
  data: Float32Array.from(data),
});

describe('non-maximum suppression', () => {
  it('keeps no two boxes of one class that overlap above the threshold, from the highest score down', () => {
    fc.assert(
      fc.property(fc.array(candidate, { maxLength: 40 }), bounds, (candidates, policy) => {
        const { kept, isCut } = suppress(candidates, policy);
        const unbound = suppress(candidates, { ...policy, maxDetections: 1000 }).kept;
        expect(isCut).toBe(unbound.length > policy.maxDetections);
        expect(kept.length).toBeLessThanOrEqual(policy.maxDetections);
        for (const [at, a] of kept.entries()) {
          expect(candidates).toContain(a);
          expect(a.score).toBeLessThanOrEqual(kept[at - 1]?.score ?? 1);
          for (const b of kept.slice(at + 1)) {
            if (a.place === b.place) expect(overlap(a.box, b.box)).toBeLessThanOrEqual(policy.iouThreshold);
          }
        }
      }),
    );
  });

  it('leaves out only what a better box of the same class hides', () => {
    fc.assert(
      fc.property(
        fc.array(candidate, { maxLength: 40 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (candidates, iouThreshold) => {
          const { kept } = suppress(candidates, { iouThreshold, maxDetections: 1000 });
          for (const each of candidates.filter((one) => !kept.includes(one))) {
            const hides = (other: Candidate): boolean =>
              other.place === each.place && other.score >= each.score && overlap(other.box, each.box) > iouThreshold;
            expect(kept.some(hides)).toBe(true);
          }
        },
      ),
    );
  });

  it('measures overlap alike from both sides, 1 for the same box and 0 for boxes apart', () => {
    fc.assert(
      fc.property(candidate, candidate, ({ box: a }, { box: b }) => {
        expect(overlap(a, b)).toBeCloseTo(overlap(b, a), 9);
        expect(overlap(a, a)).toBeCloseTo(1, 9);
        const apart = { ...b, left: a.right + 1, right: a.right + 2 };
        expect(overlap(a, apart)).toBe(0);
      }),
    );
  });
});

describe('the outputs of a detector', () => {
  const size = { width: 200, height: 100 };
  const manifest = { boxes: 'b', scores: 's' };

  it.each([
    ['xyxy', [0.1, 0.2, 0.3, 0.6]],
    ['yxyx', [0.2, 0.1, 0.6, 0.3]],
    ['cxcywh', [0.2, 0.4, 0.2, 0.4]],
  ] as const)('reads %s boxes into pixels of the input', (format, edges) => {
    const found = detect(
      DetectionOutputs.parse({ ...manifest, format }),
      [floats('b', [1, 1, 4], [...edges]), floats('s', [1, 1, 1], [0.9])],
      size,
    );
    expect(found).toMatchObject([{ place: 0, score: expect.closeTo(0.9, 5) }]);
    const box = typeof found === 'string' ? undefined : found[0]?.box;
    expect(box).toEqual({
      left: expect.closeTo(20, 4),
      top: expect.closeTo(20, 4),
      right: expect.closeTo(60, 4),
      bottom: expect.closeTo(60, 4),
    });
  });

  it('leaves out the background, low and undefined scores, and boxes without an area', () => {
    const boxes = [0, 0, 9, 9, 20, 20, 29, 29, 40, 40, 40, 49, 60, 60, 69, 69];
    const scores = [0.9, 0.8, 0.9, 0.1, 0, 0.9, 0, Number.NaN];
    const detection = DetectionOutputs.parse({ ...manifest, normalised: false, background: 0 });
    const found = detect(detection, [floats('b', [1, 4, 4], boxes), floats('s', [1, 4, 2], scores)], size);
    expect(found).toMatchObject([
      { place: 1, score: expect.closeTo(0.8, 5), box: { left: 0, top: 0, right: 9, bottom: 9 } },
    ]);
    expect(found).toHaveLength(1);
  });

  it('takes the class from a tensor of its own', () => {
    const detection = DetectionOutputs.parse({ ...manifest, classes: 'c', normalised: false });
    const outputs = [floats('b', [1, 1, 4], [0, 0, 9, 9]), floats('s', [1, 1], [0.9]), floats('c', [1, 1], [7])];
    expect(detect(detection, outputs, size)).toMatchObject([{ place: 7 }]);
  });

  it('says what does not fit the manifest', () => {
    const detection = DetectionOutputs.parse(manifest);
    const boxes = floats('b', [1, 2, 4], [0, 0, 1, 1, 0, 0, 1, 1]);
    expect(detect(detection, [boxes, floats('s', [1, 3], [1, 1, 1])], size)).toContain('3 scores for 2 boxes');
    expect(detect(detection, [boxes], size)).toContain('not tensors of numbers');
    expect(detect(detection, [floats('b', [1, 0, 4], []), floats('s', [1, 0, 2], [])], size)).toEqual([]);
  });

  const found = fc.record({
    edges: fc.tuple(edge, edge, length, length),
    scores: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 3, maxLength: 3 }),
    objectness: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  const rows = (shape: number[], data: number[][]) => floats('t', shape, data.flat());
  const columns = (shape: number[], data: number[][]) =>
    floats(
      't',
      shape,
      (data[0] ?? []).flatMap((_, at) => data.map((row) => row[at] ?? 0)),
    );
  const options = { format: 'cxcywh', normalised: false, scoreThreshold: 0.3 } as const;

  it('reads a table by rows or by columns as it reads separate tensors', () => {
    fc.assert(
      fc.property(fc.array(found, { minLength: 8, maxLength: 20 }), (all) => {
        const boxes = floats(
          'b',
          [1, all.length, 4],
          all.flatMap(({ edges }) => edges),
        );
        const apart = (scores: number[][]) =>
          detect(
            DetectionOutputs.parse({ ...manifest, ...options }),
            [boxes, floats('s', [1, all.length, 3], scores.flat())],
            size,
          );
        const scored = all.map(({ edges, scores }) => [...edges, ...scores]);
        const table = DetectionOutputs.parse({ ...options, table: 't' });
        const expected = apart(all.map(({ scores }) => scores));
        expect(detect(table, [rows([1, all.length, 7], scored)], size, 3)).toEqual(expected);
        expect(detect(table, [columns([1, 7, all.length], scored)], size, 3)).toEqual(expected);
        expect(detect(table, [columns([7, all.length], scored)], size)).toEqual(expected);
      }),
    );
  });

  it('multiplies the scores of a table with its objectness', () => {
    const table = DetectionOutputs.parse({ ...options, table: 't', columns: 'objectness' });
    const data = [
      [50, 50, 20, 20, 0.5, 0.9, 0.1],
      [150, 50, 20, 20, 0.5, 0.5, 0.2],
    ];
    const seen = [
      { behind: [], place: 0, score: expect.closeTo(0.45, 5), box: { left: 40, top: 40, right: 60, bottom: 60 } },
    ];
    expect(detect(table, [rows([1, 2, 7], data)], size, 2)).toEqual(seen);
    expect(detect(table, [columns([1, 7, 2], data)], size, 2)).toEqual(seen);
  });

  it('takes the class from the last column of a table', () => {
    const table = DetectionOutputs.parse({ table: 't', columns: 'class', normalised: false });
    const data = rows(
      [1, 2, 6],
      [
        [0, 0, 9, 9, 0.9, 3],
        [20, 0, 29, 9, 0.4, 1],
      ],
    );
    expect(detect(table, [data], size, 80)).toMatchObject([{ place: 3, box: { left: 0, right: 9 } }]);
  });

  it('says why a table can not be read', () => {
    const read = (shape: number[], labels?: number, form = 'scores') =>
      detect(
        DetectionOutputs.parse({ table: 't', columns: form }),
        [floats('t', shape, Array(shape.reduce((a, b) => a * b, 1)).fill(0))],
        size,
        labels,
      );
    expect(read([1, 9, 20], 3)).toContain('no dimension of 7');
    expect(read([2, 20, 7], 3)).toContain('not one of boxes');
    expect(read([20], 3)).toContain('not one of boxes');
    expect(read([1, 4, 20])).toContain('needs 5');
    expect(read([1, 0, 7], 3)).toEqual([]);
    expect(detect(DetectionOutputs.parse({ table: 'u' }), [], size)).toContain('"u" is not a tensor');
  });

  it('is described by separate outputs or a table, not by both or neither', () => {
    for (const wrong of [{}, { boxes: 'b' }, { ...manifest, table: 't' }, { table: 't', classes: 'c' }]) {
      expect(DetectionOutputs.safeParse(wrong).error?.message).toContain('name either');
    }
    const head = { kind: 'yolox' };
    for (const [wrong, reason] of [
      [{ ...manifest, head }, 'reads a \\"table\\"'],
      [{ maps: ['a'] }, 'are for a'],
      [{ table: 't', head, format: 'xyxy' }, 'says itself'],
      [{ table: 't', head, keypoints: { count: 1 } }, 'those of yolov8'],
      [{ table: 't', masks: { prototypes: 'p' }, keypoints: { count: 1 } }, 'either'],
      [{ table: 't', keypoints: {} }, 'or \\"count\\"'],
    ] as const) {
      expect(DetectionOutputs.safeParse(wrong).error?.message).toContain(reason);
    }
  });

  it('takes the best class of each box where a box is one thing', () => {
    const scores = [0.9, 0.8, 0.2, 0.6];
    const outputs = [floats('b', [1, 2, 4], [0, 0, 9, 9, 20, 20, 29, 29]), floats('s', [1, 2, 2], scores)];
    const pixels = { ...manifest, normalised: false };
    expect(detect(DetectionOutputs.parse(pixels), outputs, size)).toHaveLength(3);
    expect(detect(DetectionOutputs.parse({ ...pixels, multiLabel: false }), outputs, size)).toMatchObject([
      { place: 0, box: { left: 0 } },
      { place: 1, box: { left: 20 } },
    ]);
  });

  it.each([
    ['sigmoid', [Math.log(9), -3], [0.9]],
    ['softmax', [Math.log(4), 0], [0.8]],
  ] as const)('makes probabilities of logits by %s', (activation, logits, expected) => {
    const detection = DetectionOutputs.parse({ ...manifest, normalised: false });
    const outputs = [floats('b', [1, 1, 4], [0, 0, 9, 9]), floats('s', [1, 1, 2], [...logits])];
    const found = detectAll({ detection, activation }, outputs, size);
    expect(found).toMatchObject({ seen: expected.map((score) => ({ score: expect.closeTo(score, 5) })), warnings: [] });
  });

  it('reads what stands behind the scores of a table', () => {
    const detection = DetectionOutputs.parse({ table: 't', normalised: false, keypoints: { names: ['eye', 'ear'] } });
    const row = [0, 0, 9, 9, 0.9, 1, 2, 0.5, 3, 4, 0.25];
    for (const table of [floats('t', [1, 1, 11], row), floats('t', [1, 11, 1], row)]) {
      expect(detect(detection, [table], size, 1)).toMatchObject([{ place: 0, behind: [1, 2, 0.5, 3, 4, 0.25] }]);
    }
    const three = DetectionOutputs.parse({ table: 't', columns: 'class', keypoints: { count: 2, scored: false } });
    expect(detect(three, [floats('t', [1, 1, 10], [0, 0, 1, 1, 0.9, 2, 1, 2, 3, 4])], size, 80)).toMatchObject([
      { place: 2, behind: [1, 2, 3, 4] },
    ]);
  });
});

describe('what is not as it should be', () => {
  const size = { width: 200, height: 100 };
  const parse = (more: object) => DetectionOutputs.parse({ boxes: 'b', scores: 's', normalised: false, ...more });
  const seen = (detection: DetectionOutputs, boxes: number[], scores: number[]) => {
    const outputs = [floats('b', [1, boxes.length / 4, 4], boxes), floats('s', [1, scores.length], scores)];
    const found = detectAll({ detection }, outputs, size);
    return typeof found === 'string' ? found : [found.seen.length, ...found.warnings];
  };

  it('is told: boxes without an area, tiny ones, logits, and that there were more', () => {
    expect(seen(parse({}), [0, 0, 9, 9, 50, 50, 20, 20, Number.NaN, 0, 1, 1], [0.9, 0.9, 0.9])).toEqual([
      1,
      expect.stringContaining('2 of 3 boxes above the score threshold have no area'),
    ]);
    expect(seen(parse({}), [0.1, 0.1, 0.9, 0.9], [0.9])).toEqual([
      1,
      expect.stringContaining('all 1 boxes are smaller'),
    ]);
    expect(seen(parse({}), [0, 0, 9, 9], [3.25])).toEqual([1, expect.stringContaining('scores go up to 3.25')]);
    const apart = Array.from({ length: 5 }, (_, i) => [i * 20, 0, i * 20 + 9, 9]).flat();
    const five = [0.9, 0.9, 0.9, 0.9, 0.9];
    expect(seen(parse({ maxDetections: 4 }), apart, five)).toEqual([4, expect.stringContaining('cut at 4 detections')]);
    expect(seen(parse({ maxDetections: 5 }), apart, five)).toEqual([5]);
    // The sixth hides behind the fifth.
    expect(seen(parse({ maxDetections: 5 }), [...apart, 80, 0, 89, 9], [...five, 0.8])).toEqual([5]);
  });

  it('is no warning where nothing is wrong, and where nothing is seen', () => {
    expect(seen(parse({}), [0, 0, 9, 9, 5, 5, 5, 5], [0.9, 0.1])).toEqual([1]);
    expect(seen(parse({}), [5, 5, 5, 5], [0.1])).toEqual([0]);
  });
});
