// A session of ONNX Runtime by the binding's own entry, which runs at once. The package's `InferenceSession` wraps each run
// into a turn of the event loop (`setImmediate`) and two promises; for a small model those take longer than the run. That
// entry is not documented: it is used in versions that were looked at, as far as all of it is found to be there, and else
// the package's own is.
import { createRequire } from 'node:module';
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import type { Binding } from 'onnxruntime-node/dist/binding.js';

export type OrtTensors = Record<string, OrtTensor>;

type SessionOptions = InferenceSession.SessionOptions;
type ValueMetadata = InferenceSession.ValueMetadata;
type Datatype = Extract<ValueMetadata, { isTensor: true }>['type'];

export interface OrtSession {
  inputMetadata: readonly ValueMetadata[];
  outputMetadata: readonly ValueMetadata[];
  /**
   * `fetches`: the outputs that are wanted, by their names or with room allocated; all of them when unset. Throws, or rejects,
   * what ONNX Runtime says.
   */
  run(feeds: OrtTensors, fetches?: OrtTensors | readonly string[]): OrtTensors | Promise<OrtTensors>;
  release(): Promise<void>;
}

/** As named by the `version` of onnxruntime-node. */
const knownVersions = /^1\.30\./;
const require = createRequire(import.meta.url);
const binding = findBinding();

/** Whether `run` has ended when it returns, and gives no promise. */
export const runsAtOnce = binding !== undefined;

/** Loads an ONNX file, by its path or its bytes. Rejects with what ONNX Runtime says. */
export async function createOrtSession(model: string | Uint8Array, options: SessionOptions): Promise<OrtSession> {
  if (binding !== undefined) return openAtOnce(binding, model, options);
  const session =
    typeof model === 'string' ? InferenceSession.create(model, options) : InferenceSession.create(model, options);
  return fromPackage(await session);
}

function fromPackage(session: InferenceSession): OrtSession {
  const { inputMetadata, outputMetadata } = session;
  return {
    inputMetadata,
    outputMetadata,
    run: (feeds, fetches) => (fetches === undefined ? session.run(feeds) : session.run(feeds, fetches)),
    release: () => session.release(),
  };
}

function openAtOnce(
  { Session, initOrt }: FoundBinding,
  model: string | Uint8Array,
  options: SessionOptions,
): OrtSession {
  initOrt();
  const native = new Session();
  if (typeof model === 'string') native.loadModel(model, options);
  else loadBytes(native, model, options);
  const inputMetadata = native.inputMetadata.map(valueMetadata);
  const outputMetadata = native.outputMetadata.map(valueMetadata);
  const inputNames = inputMetadata.map(({ name }) => name);
  const allOutputs = anywhere(outputMetadata.map(({ name }) => name));
  return {
    inputMetadata,
    outputMetadata,
    run(feeds, fetches) {
      // The native part would begin the run and then read nothing where the input should be.
      for (const name of inputNames)
        if (feeds[name] === undefined) throw new Error(`input '${name}' is missing in 'feeds'.`);
      return tensorsOf(native.run(feeds, roomOf(fetches) ?? allOutputs, noOptions));
    },
    release: async () => native.dispose(),
  };
}

function loadBytes(native: Binding.InferenceSession, bytes: Uint8Array, options: SessionOptions): void {
  const { buffer, byteOffset, byteLength } = bytes;
  if (!(buffer instanceof ArrayBuffer)) throw new TypeError('the bytes of a model must not lie in shared memory');
  native.loadModel(buffer, byteOffset, byteLength, options);
}

const noOptions = {};

function roomOf(fetches: OrtTensors | readonly string[] | undefined): Record<string, OrtTensor | null> | undefined {
  return isNames(fetches) ? anywhere(fetches) : fetches;
}

function isNames(fetches: OrtTensors | readonly string[] | undefined): fetches is readonly string[] {
  return Array.isArray(fetches);
}

/** ONNX Runtime makes the room. */
function anywhere(names: readonly string[]): Record<string, null> {
  return Object.fromEntries(names.map((name) => [name, null]));
}

function tensorsOf(results: ReturnType<Binding.InferenceSession['run']>): OrtTensors {
  const tensors: OrtTensors = {};
  for (const name of Object.keys(results)) {
    const value = results[name];
    if (!(value instanceof OrtTensor)) continue;
    // To define a property takes several times as long as to set one, which this name alone does not do.
    if (name !== '__proto__') tensors[name] = value;
    else Object.defineProperty(tensors, name, { value, enumerable: true, configurable: true, writable: true });
  }
  return tensors;
}

/** By the number that ONNX has for a type. */
const datatypes: readonly (Datatype | undefined)[] = [
  undefined,
  'float32',
  'uint8',
  'int8',
  'uint16',
  'int16',
  'int32',
  'int64',
  'string',
  'bool',
  'float16',
  'float64',
  'uint32',
  'uint64',
];

/** As the package makes it of what the binding says: a dimension that is not fixed by its name. */
function valueMetadata({ name, isTensor, type, shape, symbolicDimensions }: Binding.ValueMetadata): ValueMetadata {
  if (!isTensor) return { name, isTensor: false };
  const datatype = datatypes[type];
  if (datatype === undefined) throw new Error(`Unsupported data type: ${type}`);
  const dims = shape.map((dim, i) => (dim === -1 ? (symbolicDimensions[i] ?? '') : dim));
  return { name, isTensor: true, type: datatype, shape: dims };
}

interface FoundBinding {
  Session: Binding.InferenceSessionConstructor;
  initOrt(): void;
}

/** Undefined where another version is installed, or what is there is not what this knows. */
function findBinding(): FoundBinding | undefined {
  if (!knownVersions.test(installedVersion())) return undefined;
  const found: unknown = require('onnxruntime-node/dist/binding.js');
  if (!isRecord(found) || !isRecord(found.binding)) return undefined;
  const { initOrt } = found;
  const { InferenceSession: Session } = found.binding;
  return isSession(Session) && isAction(initOrt) ? { Session, initOrt } : undefined;
}

function installedVersion(): string {
  const found: unknown = require('onnxruntime-node/package.json');
  return isRecord(found) && typeof found.version === 'string' ? found.version : '';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isAction(value: unknown): value is () => void {
  return typeof value === 'function';
}

function isSession(value: unknown): value is Binding.InferenceSessionConstructor {
  if (typeof value !== 'function') return false;
  const members = Object.getOwnPropertyNames(value.prototype);
  return ['loadModel', 'run', 'dispose', 'inputMetadata', 'outputMetadata'].every((name) => members.includes(name));
}
