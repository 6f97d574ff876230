// What Triton has and this server does not, by its paths: its clients are told so in the protocol's form, with 501.

/** Over gRPC as well. */
export const noSharedMemory = 'shared memory is not offered here; send and take the data of the tensors itself';
const noGeneration = 'the generate extension is not offered here; use /v2/models/MODEL/infer';

export const notOffered: readonly [path: string, message: string][] = [
  ...['/v2/systemsharedmemory/*', '/v2/cudasharedmemory/*', '/v2/xpusharedmemory/*'].map((path): [string, string] => [
    path,
    noSharedMemory,
  ]),
  ...['generate', 'generate_stream'].flatMap((action): [string, string][] => [
    [`/v2/models/:model/${action}`, noGeneration],
    [`/v2/models/:model/versions/:version/${action}`, noGeneration],
  ]),
];
