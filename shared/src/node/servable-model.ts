// Opens an ONNX file as far as it can be served, in every program and process in the same way: outputs that are no tensors
// are cut out of it first, and what the file says of its classes becomes part of the signature.
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AppError, messageOf } from '../app-error.ts';
import { type FileFacts, type LeftOut, type SessionMetadata, signatureOf, unservable } from '../meaning/signature.ts';
import { classesOf } from '../onnx/class-names.ts';
import { type ByteSource, sourceOf } from '../onnx/fields.ts';
import { type GraphModel, readGraph } from '../onnx/graph.ts';
import { cutOutputs } from '../onnx/servable-bytes.ts';
import { declaredNoTensors, zipMapsOf } from '../onnx/unservable-outputs.ts';
import type { ModelSignature } from '../tensors.ts';
import { readFile as readBytes } from './file-bytes.ts';

/** Tensors kept beside a file lie in `folder`. */
interface ModelBytes {
  bytes: Uint8Array;
  folder: string;
}

/** What a session is made of: the file, or its bytes, after a cut or because they lie in another file. */
export type ModelSource = { path: string } | ModelBytes;

/** A model by the path of its file, or its bytes. */
export type ModelFile = string | ModelBytes;

export interface ServableModel<Session> {
  session: Session;
  signature: ModelSignature;
  /** The outputs to ask for, where the session has others as well; undefined when it has no others. */
  fetches: string[] | undefined;
  /** Of the file, or why it cannot be read; not to be kept, since it may be large. */
  graph: GraphModel | AppError;
}

/** A session of ONNX Runtime as its JavaScript binding has it. */
interface Opened extends SessionMetadata {
  release(): Promise<void>;
}

/** A file that is cut is held in memory twice for a moment. */
const defaultCutBytes = 1024 ** 3;

/** `create` makes a session. Throws what it throws, and `model_rejected` for what cannot be served. */
export async function openServable<Session extends Opened>(
  file: ModelFile,
  create: (source: ModelSource) => Promise<Session>,
  { cutAtMostBytes = defaultCutBytes } = {},
): Promise<ServableModel<Session>> {
  const { graph, sizeBytes } = readFileGraph(file);
  const model = graph instanceof AppError ? undefined : graph;
  const zipMaps = model ? zipMapsOf(model) : new Map<string, string>();
  const cut = async (names: Iterable<string>): Promise<ModelSource> => ({
    bytes: await cutOutputs(await bytesOf(file), { zipMaps, leftOut: new Set(names) }),
    folder: typeof file === 'string' ? dirname(file) : file.folder,
  });
  const mayCut = model !== undefined && sizeBytes <= cutAtMostBytes;
  const declared = model ? declaredNoTensors(model, zipMaps) : [];
  const isWhole =
    !mayCut || (zipMaps.size === 0 && declared.length === 0) || declared.length === model.graph.outputs.length;
  let session = await create(isWhole ? wholeOf(file) : await cut(declared));
  // Types that the file leaves unsaid are known to ONNX Runtime only.
  const inferred = reasonsOf(session);
  if (mayCut && inferred.length > 0 && inferred.length < session.outputMetadata.length) {
    await session.release();
    session = await create(await cut([...declared, ...inferred.map(({ name }) => name)]));
  }
  const here = new Set(session.outputMetadata.map(({ name }) => name));
  const noTensor = declared.map((name) => ({ name, reason: 'is not a tensor; only tensors can be served' }));
  const gone = [...noTensor, ...inferred].filter(({ name }) => !here.has(name));
  const signature = await signed(session, () => signatureOf(session, factsOf(model), gone));
  const hasOthers = session.outputMetadata.length > signature.outputs.length;
  const fetches = hasOthers ? signature.outputs.map(({ name }) => name) : undefined;
  return { session, signature, fetches, graph };
}

function wholeOf(file: ModelFile): ModelSource {
  return typeof file === 'string' ? { path: file } : file;
}

async function bytesOf(file: ModelFile): Promise<Uint8Array> {
  return typeof file === 'string' ? readFile(file) : file.bytes;
}

/** A session that nobody gets is released. */
async function signed(session: Opened, read: () => ModelSignature): Promise<ModelSignature> {
  try {
    return read();
  } catch (error) {
    await session.release();
    throw error;
  }
}

function reasonsOf({ outputMetadata }: SessionMetadata): LeftOut[] {
  return outputMetadata.flatMap((metadata) => {
    const reason = unservable(metadata);
    return reason === undefined ? [] : [{ name: metadata.name, reason }];
  });
}

function factsOf(model: GraphModel | undefined): FileFacts {
  if (!model) return { classes: { names: undefined, label: undefined }, opset: undefined };
  return { classes: classesOf(model), opset: model.opsets.get('') };
}

/** A graph that can't be read is no end: whether the file is a model is ONNX Runtime's to say, and it says why not. */
function readFileGraph(file: ModelFile): { graph: GraphModel | AppError; sizeBytes: number } {
  const read = (source: ByteSource) => ({ graph: graphOf(source), sizeBytes: source.size });
  try {
    return typeof file === 'string' ? readBytes(file, read) : read(sourceOf(file.bytes));
  } catch (cause) {
    throw new AppError('model_rejected', `the model file cannot be read: ${messageOf(cause)}`, { cause });
  }
}

function graphOf(source: ByteSource): GraphModel | AppError {
  try {
    return readGraph(source);
  } catch (error) {
    if (error instanceof AppError && error.code === 'model_rejected') return error;
    throw error;
  }
}
