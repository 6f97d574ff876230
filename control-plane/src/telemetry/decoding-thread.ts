// The thread in which batches are unpacked, parsed, checked and put together.
import { parentPort } from 'node:worker_threads';
import { decodeToBytes } from './decoding.ts';

/** Payloads one behind the other, and where each ends. */
export interface DecodingJob {
  nr: number;
  bytes: Uint8Array<ArrayBuffer>;
  ends: number[];
  receivedAt: number;
}
export interface DecodingAnswer {
  nr: number;
  bytes: Uint8Array<ArrayBuffer>;
}

parentPort?.on('message', ({ nr, bytes, ends, receivedAt }: DecodingJob) => {
  const payloads = ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
  const answer: DecodingAnswer = { nr, bytes: decodeToBytes(payloads, receivedAt) };
  parentPort?.postMessage(answer, [answer.bytes.buffer]);
});
parentPort?.postMessage('ready');
