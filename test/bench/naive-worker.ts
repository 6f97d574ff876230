// The naive server's worker thread: all models in each.
import { workerData } from 'node:worker_threads';
import { InferenceSession, Tensor } from 'onnxruntime-node';

export interface NaiveTask {
  model: string;
  inputs: { name: string; shape: number[]; data: number[] }[];
}

const paths: Record<string, string> = workerData;
const sessionOptions = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 } as const;
const sessions = new Map<string, InferenceSession>();
for (const [name, path] of Object.entries(paths)) {
  sessions.set(name, await InferenceSession.create(path, sessionOptions));
}

export default async function infer({ model, inputs }: NaiveTask): Promise<unknown[]> {
  const session = sessions.get(model);
  if (session === undefined) throw new Error(`no model ${model}`);
  const feeds = inputs.map(({ name, shape, data }) => [name, new Tensor('float32', Float32Array.from(data), shape)]);
  const results = await session.run(Object.fromEntries(feeds));
  return Object.entries(results).map(([name, { dims, data }]) => ({
    name,
    datatype: 'FP32',
    shape: dims,
    data: data instanceof Float32Array ? Array.from(data) : [],
  }));
}
