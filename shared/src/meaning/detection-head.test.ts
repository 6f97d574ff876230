import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DetectionHead, DetectionOutputs } from '../detection-manifest.ts';
import type { NamedTensor } from '../tensor-data.ts';
import { detect } from './detection.ts';

const size = { width: 96, height: 64 };
const classes = 3;

const floats = (name: string, shape: number[], data: ArrayLike<number>): NamedTensor => ({
  name,
  datatype: 'FP32',
  shape,
  data: Float32Array.from(data),
});
const logit = (share: number): number => Math.log(share / (1 - share));

interface Wanted {
  left: number;
  top: number;
  right: number;
  bottom: number;
  place: number;
  score: number;
}

/** A cell of a grid; `anchor` among those of its stride. */
interface Cell {
  x: number;
  y: number;
  stride: number;
  anchor: [number, number];
}

/** Bins whose mean is this many strides. */
function bins(count: number, mean: number): number[] {
  const low = Math.min(count - 2, Math.floor(mean));
  return Array.from({ length: count }, (_, i) => {
    const share = i === low ? 1 - (mean - low) : i === low + 1 ? mean - low : 0;
    return share > 0 ? Math.log(share) : -80;
  });
}

/** What each head would have had to say of a box: the reverse of its arithmetic. */
const says: Record<DetectionHead['kind'], (wanted: Wanted, cell: Cell, offset: number) => number[]> = {
  yolox: (w, { x, y, stride }) => [
    (w.left + w.right) / 2 / stride - x,
    (w.top + w.bottom) / 2 / stride - y,
    Math.log((w.right - w.left) / stride),
    Math.log((w.bottom - w.top) / stride),
    0.9,
    ...scores(w, (score) => score / 0.9),
  ],
  yolov5: (w, { x, y, stride, anchor }) => [
    logit(((w.left + w.right) / 2 / stride - x + 0.5) / 2),
    logit(((w.top + w.bottom) / 2 / stride - y + 0.5) / 2),
    logit(Math.sqrt((w.right - w.left) / anchor[0]) / 2),
    logit(Math.sqrt((w.bottom - w.top) / anchor[1]) / 2),
    logit(0.9),
    ...scores(w, (score) => logit(score / 0.9)),
  ],
  fastestdet: (w, { x, y, stride }) => [
    0.9,
    Math.atanh((w.left + w.right) / 2 / stride - x),
    Math.atanh((w.top + w.bottom) / 2 / stride - y),
    logit((w.right - w.left) / size.width),
    logit((w.bottom - w.top) / size.height),
    ...scores(w, (score) => (score / 0.9 ** 0.6) ** 2.5),
  ],
  nanodet: (w, cell, offset) => [...scores(w, (score) => score), ...distances(w, cell, { offset, count: 8 })],
  yolov8: (w, cell) => [...distances(w, cell, { offset: 0.5, count: 16 }), ...scores(w, logit)],
};

function scores({ place, score }: Wanted, said: (score: number) => number): number[] {
  return Array.from({ length: classes }, (_, i) => said(i === place ? score : 0.01));
}

function distances(w: Wanted, { x, y, stride }: Cell, { offset, count }: { offset: number; count: number }): number[] {
  const [cx, cy] = [(x + offset) * stride, (y + offset) * stride];
  return [cx - w.left, cy - w.top, w.right - cx, w.bottom - cy].flatMap((length) => bins(count, length / stride));
}

/** Says nothing of any cell: low scores everywhere. */
const silent: Record<DetectionHead['kind'], number> = { yolox: 0, yolov5: -9, fastestdet: 0, nanodet: 0, yolov8: -9 };

const anchors: [number, number][] = [
  [10, 12],
  [20, 9],
];
const strides = [8, 16];
const heads: { head: DetectionHead; strides: number[]; anchors: number; offset: number }[] = [
  { head: { kind: 'yolox', strides }, strides, anchors: 1, offset: 0 },
  { head: { kind: 'yolov5', strides, anchors: [anchors.flat(), anchors.flat()] }, strides, anchors: 2, offset: 0 },
  { head: { kind: 'nanodet', strides }, strides, anchors: 1, offset: 0 },
  { head: { kind: 'nanodet', strides, offset: 0.5 }, strides, anchors: 1, offset: 0.5 },
  { head: { kind: 'yolov8', strides }, strides, anchors: 1, offset: 0.5 },
  { head: { kind: 'fastestdet' }, strides: [16], anchors: 1, offset: 0 },
];

type Level = { across: number; down: number; rows: number[][] };

const byRows = ({ rows }: Level) => rows.flat();
const byColumns = (rows: number[][]) => (rows[0] ?? []).flatMap((_, i) => rows.map((row) => row[i] ?? 0));

/** The first numbers of each cell flattened, the rest by planes. */
function inParts({ across, down, rows }: Level): [number[], number[]][] {
  const [head, rest] = [rows.map((row) => row.slice(0, 3)), rows.map((row) => row.slice(3))];
  return [
    [[1, rows.length, 3], head.flat()],
    [[1, rest[0]?.length ?? 0, down, across], byColumns(rest)],
  ];
}

/** The same numbers as exports lay them out: `[shape, data]` of each output. */
function layouts(levels: Level[], each: number): Record<string, [number[], number[]][]> {
  const all = levels.flatMap(({ rows }) => rows);
  const width = all[0]?.length ?? 0;
  const planes = ({ across, down, rows }: Level) =>
    Array.from({ length: each }, (_, a) => byColumns(rows.slice(a * across * down, (a + 1) * across * down))).flat();
  const pixels = ({ across, down, rows }: Level) =>
    Array.from({ length: across * down }, (_, p) =>
      Array.from({ length: each }, (_, a) => rows[a * across * down + p] ?? []).flat(),
    ).flat();
  return {
    'table by rows': [[[1, all.length, width], all.flat()]],
    'table by columns': [[[1, width, all.length], byColumns(all)]],
    'maps by planes': levels.map((l) => [[1, each * width, l.down, l.across], planes(l)]),
    'maps by pixels': levels.map((l) => [[1, l.down, l.across, each * width], pixels(l)]),
    'maps by anchors': levels.map((l) => [[1, each, l.down, l.across, width], byRows(l)]),
    // As the first NanoDet and Yolo-FastestV2 have it: what a cell says stands in several outputs.
    ...(each === 1 && { 'maps in two parts': levels.flatMap(inParts) }),
    'maps flattened': levels.map((l) => [[1, l.rows.length, width], byRows(l)]),
  };
}

describe.each(heads)('the head $head.kind', ({ head, strides: steps, anchors: each, offset }) => {
  const arbitrary = fc
    .record({ level: fc.nat(steps.length - 1), anchor: fc.nat(each - 1), place: fc.nat(classes - 1) })
    .chain(({ level, anchor, place }) => {
      const stride = steps[level] ?? 16;
      const share = fc.double({ min: 0.05, max: 0.45, noNaN: true });
      return fc.record({
        level: fc.constant(level),
        anchor: fc.constant(anchor),
        place: fc.constant(place),
        x: fc.nat(size.width / stride - 1),
        y: fc.nat(size.height / stride - 1),
        within: fc.tuple(share, share),
        half: fc.tuple(fc.double({ min: 8, max: 14, noNaN: true }), fc.double({ min: 8, max: 14, noNaN: true })),
        score: fc.double({ min: 0.6, max: 0.85, noNaN: true }),
      });
    });

  it('finds the box that its numbers mean, however they are laid out', () => {
    fc.assert(
      fc.property(arbitrary, ({ level, anchor, place, x, y, within, half, score }) => {
        const stride = steps[level] ?? 16;
        const [cx, cy] = [(x + offset + within[0]) * stride, (y + offset + within[1]) * stride];
        const wanted = {
          place,
          score,
          left: cx - half[0],
          right: cx + half[0],
          top: cy - half[1],
          bottom: cy + half[1],
        };
        const said = says[head.kind](wanted, { x, y, stride, anchor: anchors[anchor] ?? [1, 1] }, offset);
        const levels = steps.map((step, at) => {
          const [across, down] = [size.width / step, size.height / step];
          const rows = Array.from({ length: across * down * each }, () => said.map(() => silent[head.kind]));
          if (at === level) rows[anchor * across * down + y * across + x] = said;
          return { across, down, rows };
        });
        for (const [layout, tensors] of Object.entries(layouts(levels, each))) {
          const named = tensors.map(([shape, data], i) => floats(`o${i}`, shape, data));
          const where = layout.startsWith('table') ? { table: 'o0' } : { maps: named.map(({ name }) => name) };
          const detection = DetectionOutputs.parse({ ...where, head });
          const found = detect({ detection, labels: classes }, named, size);
          expect(found, layout).toEqual({
            warnings: [],
            seen: [
              {
                place,
                score: expect.closeTo(score, 3),
                behind: [],
                box: {
                  left: expect.closeTo(wanted.left, 2),
                  right: expect.closeTo(wanted.right, 2),
                  top: expect.closeTo(wanted.top, 2),
                  bottom: expect.closeTo(wanted.bottom, 2),
                },
              },
            ],
          });
        }
      }),
      { numRuns: 40 },
    );
  });
});

describe('heads', () => {
  const read = (head: unknown, shape: number[], labels = classes) => {
    const detection = DetectionOutputs.parse({ table: 't', head });
    const count = shape.reduce((a, b) => a * b, 1);
    return detect({ detection, labels }, [floats('t', shape, new Array<number>(count).fill(0))], size);
  };

  it('say which shape they need', () => {
    expect(read({ kind: 'yolox', strides: [8, 16] }, [1, 120, 8])).toMatchObject({ seen: [] });
    expect(read({ kind: 'yolox', strides: [8, 16] }, [1, 121, 8])).toContain('has 120 cells');
    expect(read({ kind: 'yolox', strides: [8, 16] }, [1, 120, 9])).toContain(
      '9 numbers a cell, of which 4 are scores for 3',
    );
    expect(read({ kind: 'nanodet', strides: [8, 16] }, [1, 120, 32])).toContain('0 are scores');
    expect(read({ kind: 'yolov5', strides: [8, 16] }, [1, 120, 8])).toContain('3 lists of anchors for 2 strides');
    expect(read({ kind: 'yolov5', strides: [8], anchors: [[1, 2, 3]] }, [1, 96, 8])).toContain('in turn');
    expect(DetectionHead.safeParse({ kind: 'yolo9000' }).success).toBe(false);
  });

  it('leave what stands behind them: factors of masks as they are, key points in pixels', () => {
    const cells = 12 * 8;
    const at = 2 * 12 + 3;
    const one = (outputs: Record<string, unknown>, row: number[], more: NamedTensor[] = []) => {
      const data = new Array<number>(cells * row.length).fill(-20);
      data.splice(at * row.length, row.length, ...row);
      const detection = DetectionOutputs.parse({ table: 't', scoreThreshold: 0.1, ...outputs });
      const found = detect({ detection, labels: 1 }, [floats('t', [1, cells, row.length], data), ...more], size);
      return typeof found === 'string' ? found : found.seen.map(({ behind }) => behind);
    };
    const prototypes = [floats('p', [1, 3, 2, 2], new Array<number>(12).fill(0))];
    const masks = { prototypes: 'p' };
    const yolov5 = { kind: 'yolov5', strides: [8], anchors: [[10, 6]] };
    expect(one({ head: yolov5, masks }, [0, 0, 0, 0, 0, 0, 1, -2, 3], prototypes)).toEqual([[1, -2, 3]]);
    const yolov8 = { kind: 'yolov8', strides: [8] };
    const box = [...new Array<number>(64).fill(0), 0];
    expect(one({ head: yolov8, masks }, [...box, 1, -2, 3], prototypes)).toEqual([[1, -2, 3]]);
    // (0.5 * 2 + 3) * 8 = 32 across, (-0.25 * 2 + 2) * 8 = 12 down, sigmoid of 0 is a half.
    const points = [0.5, -0.25, 0, 0, 0, 0];
    expect(one({ head: yolov8, keypoints: { count: 2 } }, [...box, ...points])).toEqual([[32, 12, 0.5, 24, 16, 0.5]]);
    const unscored = { head: yolov8, keypoints: { names: ['nose'], scored: false } };
    expect(one(unscored, [...box, 0.5, -0.25])).toEqual([[32, 12]]);
    expect(one(unscored, [...box, 0.5])).toContain('0 are scores for 1 labels and 2 numbers behind them');
    for (const refused of [
      { head: { kind: 'yolox' }, masks },
      { head: yolov5, keypoints: { count: 2 } },
    ])
      expect(DetectionOutputs.safeParse({ table: 't', ...refused }).error?.message).toMatch(/behind a \\?"head/);
  });

  it('say what the parts of a cell are that do not fit', () => {
    const shapes = [
      [1, 96, 3],
      [1, 96, 32],
      [1, 24, 3],
      [1, 24, 33],
    ];
    const named = shapes.map((shape, i) =>
      floats(`o${i}`, shape, new Array<number>(shape.reduce((a, b) => a * b, 1)).fill(0)),
    );
    const detection = DetectionOutputs.parse({ maps: ['o0', 'o1', 'o2', 'o3'], head: { kind: 'nanodet', strides } });
    expect(detect({ detection, labels: 3 }, named, size)).toMatch(/cells/);
    const right = named.map((tensor, i) =>
      i === 3 ? floats('o3', [1, 24, 32], new Array<number>(24 * 32).fill(0)) : tensor,
    );
    expect(detect({ detection, labels: 3 }, right, size)).toMatchObject({ seen: [] });
    // Another number of outputs than of strides.
    const odd = DetectionOutputs.parse({ maps: ['o0', 'o1', 'o2'], head: { kind: 'nanodet', strides } });
    expect(detect({ detection: odd, labels: 3 }, right, size)).toMatch(/cells/);
  });

  it('round grids up where a stride does not fit the input', () => {
    // 416 / 64 is 6.5: NanoDet-Plus at 416 has 3598 cells.
    const detection = DetectionOutputs.parse({ table: 't', head: { kind: 'nanodet' } });
    const table = floats('t', [1, 3598, 112], new Array<number>(3598 * 112).fill(0));
    expect(detect({ detection, labels: 80 }, [table], { width: 416, height: 416 })).toMatchObject({ seen: [] });
  });

  it('reckon as the programs that come with the models: a box of each, worked out by hand', () => {
    const cells = 12 * 8;
    const one = (head: object, row: number[]) => {
      const data = new Array<number>(cells * row.length).fill(-20);
      // Column 3 of row 2.
      data.splice((2 * 12 + 3) * row.length, row.length, ...row);
      const detection = DetectionOutputs.parse({ table: 't', head, scoreThreshold: 0.1 });
      const found = detect({ detection, labels: 1 }, [floats('t', [1, cells, row.length], data)], size);
      return typeof found === 'string' ? found : found.seen.map(({ score, box }) => [score, ...Object.values(box)]);
    };
    const close = (values: number[]) => [values.map((value) => expect.closeTo(value, 3))];
    // (0.5 + 3) * 8 = 28, (0.25 + 2) * 8 = 18, 4 * 8 = 32 wide, 2 * 8 = 16 high.
    const yolox = [0.5, 0.25, Math.log(4), Math.log(2), 0.5, 0.8];
    expect(one({ kind: 'yolox', strides: [8] }, yolox)).toEqual(close([0.4, 12, 10, 44, 26]));
    // Sigmoid of 0 is a half: (1 - 0.5 + 3) * 8 = 28, (1 - 0.5 + 2) * 8 = 20, the anchor as it is.
    const yolov5 = { kind: 'yolov5', strides: [8], anchors: [[10, 6]] };
    expect(one(yolov5, [0, 0, 0, 0, 0, 0])).toEqual(close([0.25, 23, 17, 33, 23]));
    // All bins alike: the mean of 0..7 is 3.5 strides; the point is (24, 16).
    expect(one({ kind: 'nanodet', strides: [8] }, [0.5, ...new Array<number>(32).fill(0)])).toEqual(
      close([0.5, -4, -12, 52, 44]),
    );
    // All bins alike: 7.5 strides from (28, 20).
    expect(one({ kind: 'yolov8', strides: [8] }, [...new Array<number>(64).fill(0), 0])).toEqual(
      close([0.5, -32, -40, 88, 80]),
    );
    // Centre (24, 16), half the input wide and high; 0.5^0.6 * 0.5^0.4 = 0.5.
    expect(one({ kind: 'fastestdet', strides: [8] }, [0.5, 0, 0, 0, 0, 0.5])).toEqual(close([0.5, 0, 0, 48, 32]));
  });
});
