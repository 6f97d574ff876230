// ONNX Runtime alone, one thread in a process of its own: as many runs as fit into the time.
import { InferenceSession, Tensor } from 'onnxruntime-node';

export interface RawModel {
  path: string;
  input: string;
  shape: readonly number[];
}

export interface RawRun {
  name: string;
  durationMs: number;
}

const sessionOptions = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 } as const;
const models: Record<string, RawModel> = JSON.parse(process.argv[2] ?? '{}');
const ready = new Map<string, { session: InferenceSession; feeds: Record<string, Tensor> }>();
for (const [name, { path, input, shape }] of Object.entries(models)) {
  const session = await InferenceSession.create(path, sessionOptions);
  const size = shape.reduce((product, dim) => product * dim, 1);
  ready.set(name, { session, feeds: { [input]: new Tensor('float32', new Float32Array(size).fill(0.5), shape) } });
}

async function run({ name, durationMs }: RawRun): Promise<number[]> {
  const model = ready.get(name);
  if (model === undefined) throw new Error(`no model ${name}`);
  const tookMs: number[] = [];
  const endMs = performance.now() + durationMs;
  for (let startMs = performance.now(); startMs < endMs; ) {
    await model.session.run(model.feeds);
    const nowMs = performance.now();
    tookMs.push(nowMs - startMs);
    startMs = nowMs;
  }
  return tookMs;
}

process.on('message', (each: RawRun) => {
  void run(each).then((tookMs) => process.send?.(tookMs));
});
process.on('disconnect', () => process.exit());
process.send?.('ready');
