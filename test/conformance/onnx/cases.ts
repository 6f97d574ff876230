// The ONNX project's backend test cases, as they lie in a checkout of `onnx/backend/test/data`.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AnsweredTensor, elementTexts, type WireTensor } from '../../support/v2.ts';
import { readTensorProto } from './tensor-proto.ts';

export interface BackendCase {
  /** `node/test_abs`. */
  name: string;
  modelPath: string;
  /** Folders with `input_N.pb` and `output_N.pb`. Empty for a light model: see `lightOutput`. */
  dataSets: string[];
  /** Published output of a light model, whose input is `lightInput`. */
  lightOutput?: string;
}

/** All cases below `root`, which may be the checkout or its data folder. */
export function listCases(root: string): BackendCase[] {
  const inside = join(root, 'onnx/backend/test/data');
  const data = existsSync(inside) ? inside : root;
  const cases: BackendCase[] = [];
  for (const group of readdirSync(data).sort()) {
    for (const entry of readdirSync(join(data, group)).sort()) {
      const path = join(data, group, entry);
      const modelPath = join(path, 'model.onnx');
      if (group === 'light' && entry.endsWith('.onnx')) {
        const lightOutput = path.replace(/\.onnx$/, '_output_0.pb');
        if (existsSync(lightOutput)) cases.push({ name: `light/${entry}`, modelPath: path, dataSets: [], lightOutput });
      } else if (group !== 'light' && existsSync(modelPath)) {
        const sets = readdirSync(path).filter((name) => name.startsWith('test_data_set'));
        cases.push({ name: `${group}/${entry}`, modelPath, dataSets: sets.sort().map((name) => join(path, name)) });
      }
    }
  }
  return cases;
}

export interface Signature {
  inputs: { name: string; isTensor: boolean; shape: readonly (number | string)[] }[];
  outputs: { name: string; isTensor: boolean }[];
}

export interface Sample {
  inputs: WireTensor[];
  outputs: WireTensor[];
}

/** What goes in and what must come out. Throws for data that is no tensor of the protocol. */
export function samplesOf({ dataSets, lightOutput }: BackendCase, signature: Signature): Sample[] {
  if (lightOutput !== undefined) {
    const [input] = signature.inputs;
    const [output] = signature.outputs;
    if (input === undefined || output === undefined) throw new Error('the model has no input or no output');
    return [{ inputs: [lightInput(input)], outputs: [{ ...tensorIn(lightOutput), name: output.name }] }];
  }
  return dataSets.map((folder) => ({
    inputs: tensorsIn(folder, 'input', signature.inputs),
    outputs: tensorsIn(folder, 'output', signature.outputs),
  }));
}

function tensorsIn(folder: string, kind: 'input' | 'output', values: readonly { name: string }[]): WireTensor[] {
  return values.flatMap(({ name }, i) => {
    const path = join(folder, `${kind}_${i}.pb`);
    return existsSync(path) ? [{ ...tensorIn(path), name }] : [];
  });
}

function tensorIn(path: string): WireTensor {
  return readTensorProto(readFileSync(path));
}

/** What the project's own runner feeds to light models: i / n for the i-th of n elements. */
function lightInput({ name, shape }: Signature['inputs'][number]): WireTensor {
  const dims = shape.map((dim) => (typeof dim === 'number' ? dim : 1));
  const size = dims.reduce((product, dim) => product * dim, 1);
  const values = Float32Array.from({ length: size }, (_, i) => i / size);
  return { name, datatype: 'FP32', shape: dims, bytes: new Uint8Array(values.buffer) };
}

/** The project's own tolerances. */
const relative = 1e-3;
const absolute = 1e-7;

/** Why `actual` is not what was published, or undefined. */
export function difference(actual: readonly AnsweredTensor[], published: readonly WireTensor[]): string | undefined {
  for (const expected of published) {
    const got = actual.find(({ name }) => name === expected.name);
    if (got === undefined) return `output "${expected.name}" is missing`;
    const { name, datatype, shape } = expected;
    if (got.datatype !== datatype) return `output "${name}" is ${got.datatype}, published ${datatype}`;
    if (got.shape.join() !== shape.join()) return `output "${name}" has shape [${got.shape}], published [${shape}]`;
    const wanted = elementTexts(expected);
    if (got.elements.length !== wanted.length) return `output "${name}" has ${got.elements.length} elements`;
    const at = wanted.findIndex((text, i) => !isClose(datatype, got.elements[i] ?? '', text));
    if (at >= 0) return `output "${name}" element ${at} is ${got.elements[at]}, published ${wanted[at]}`;
  }
  return undefined;
}

/** Why an answer is not another one, or undefined. */
export function answerDifference(
  actual: readonly AnsweredTensor[],
  other: readonly AnsweredTensor[],
): string | undefined {
  for (const { name, datatype, shape, elements } of other) {
    const got = actual.find((each) => each.name === name);
    if (got?.shape.join() !== shape.join()) return `output "${name}" has shape [${got?.shape}], alone [${shape}]`;
    const at = elements.findIndex((text, i) => !isClose(datatype, got.elements[i] ?? '', text));
    if (at >= 0) return `output "${name}" element ${at} is ${got.elements[at]}, alone ${elements[at]}`;
  }
  return undefined;
}

function isClose(datatype: string, actual: string, published: string): boolean {
  const plain = published.startsWith('"') ? String(JSON.parse(published)) : published;
  if (actual === plain) return true;
  if (!datatype.startsWith('FP')) return false;
  const [a, b] = [Number(actual), Number(plain)];
  return Math.abs(a - b) <= absolute + relative * Math.abs(b);
}
