// A pipeline that tests make themselves: bright cells of a picture are found, cut out of it and told by their colour.
import type { ManifestInput } from '@edgeloop/shared/manifest';
import { encodeGraph } from './onnx-models.ts';

const cells = 4;

/** `x` [1, 1, 4, 4], brightness from 0 to 1 -> `boxes` [1, 16, 4], the cells from 0 to 1, and `scores` [1, 16, 1], their brightness. */
function cellDetector(): Uint8Array {
  const boxes = Array.from({ length: cells * cells }, (_, at) => {
    const [x, y] = [(at % cells) / cells, Math.floor(at / cells) / cells];
    return [x, y, x + 1 / cells, y + 1 / cells];
  });
  return encodeGraph({
    inputs: [{ name: 'x', type: 'float', dims: [1, 1, cells, cells] }],
    outputs: [
      { name: 'boxes', type: 'float', dims: [1, cells * cells, 4] },
      { name: 'scores', type: 'float', dims: [1, cells * cells, 1] },
    ],
    initializers: [
      { name: 'all', dims: [1, cells * cells, 4], data: Float32Array.from(boxes.flat()) },
      { name: 'shape', dims: [3], data: BigInt64Array.of(1n, BigInt(cells * cells), 1n) },
    ],
    nodes: [
      { opType: 'Identity', inputs: ['all'], outputs: ['boxes'] },
      { opType: 'Reshape', inputs: ['x', 'shape'], outputs: ['scores'] },
    ],
  });
}

/** `crops` [rows, 3, 2, 2] -> `scores` [rows, 3]: which colour is the strongest. Fails on no rows when `rows` is fixed. */
export function colourClassifier(rows: number | string = 'n'): Uint8Array {
  return encodeGraph({
    inputs: [{ name: 'crops', type: 'float', dims: [rows, 3, 2, 2] }],
    outputs: [{ name: 'scores', type: 'float', dims: [rows, 3] }],
    initializers: [{ name: 'ten', dims: [], data: Float32Array.of(10) }],
    nodes: [
      {
        opType: 'ReduceMean',
        inputs: ['crops'],
        outputs: ['mean'],
        attributes: [
          { name: 'axes', ints: [2, 3] },
          { name: 'keepdims', int: 0 },
        ],
      },
      { opType: 'Mul', inputs: ['mean', 'ten'], outputs: ['strong'] },
      { opType: 'Softmax', inputs: ['strong'], outputs: ['scores'], attributes: [{ name: 'axis', int: 1 }] },
    ],
  });
}

export const colourFiles = { 'detector.onnx': cellDetector(), 'colours.onnx': colourClassifier() };

/** Boxes in pixels of the picture, and the scores of three colours for each. */
export function colourManifest(): ManifestInput {
  const scaled = { scale: 1 / 255 };
  return {
    task: 'detection',
    pipeline: {
      inputs: [{ name: 'picture', datatype: 'UINT8', shape: [1, -1, -1, 3] }],
      outputs: ['boxes', 'colours', 'found'],
      steps: [
        {
          name: 'small',
          operation: 'picture',
          input: 'picture',
          output: 'grid',
          placement: 'placement',
          image: { width: cells, height: cells, color: 'gray', ...scaled },
        },
        {
          name: 'detector',
          model: 'detector.onnx',
          inputs: { x: 'grid' },
          outputs: { boxes: 'cells', scores: 'brightness' },
        },
        {
          name: 'bright',
          operation: 'detect',
          detection: { boxes: 'cells', scores: 'brightness', scoreThreshold: 0.1, maxDetections: 3 },
          placement: 'placement',
          outputs: { boxes: 'boxes', found: 'found' },
        },
        {
          name: 'cut',
          operation: 'crop',
          picture: 'picture',
          boxes: 'boxes',
          output: 'crops',
          image: { width: 2, height: 2, ...scaled },
        },
        {
          name: 'colours',
          model: 'colours.onnx',
          inputs: { crops: 'crops' },
          outputs: { scores: 'colours' },
        },
      ],
    },
    inputs: { picture: { image: { width: 160, height: 120, crop: 'inside', layout: 'nhwc' } } },
    outputs: {
      labels: ['red', 'green', 'blue'],
      detection: {
        boxes: 'boxes',
        scores: 'colours',
        found: 'found',
        normalised: false,
        multiLabel: false,
        iouThreshold: 1,
      },
    },
  };
}

/** 40 x 40 pixels, three bytes each: black, with these cells (0 to 15, row by row) in a colour. */
export function cellPicture(colours: Readonly<Record<number, readonly [number, number, number]>>): Uint8Array {
  const size = 40;
  const pixels = new Uint8Array(size * size * 3);
  for (let at = 0; at < size * size; at++) {
    const cell = Math.floor(Math.floor(at / size) / 10) * cells + Math.floor((at % size) / 10);
    pixels.set(colours[cell] ?? [0, 0, 0], at * 3);
  }
  return pixels;
}
