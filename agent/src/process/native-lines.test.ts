import { PassThrough } from 'node:stream';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { logNativeLines, readNativeLine } from './native-lines.ts';

it('reads the lines of ONNX Runtime, with colours and without', () => {
  const plain =
    '2026-11-27 12:00:00.123456789 [E:onnxruntime:, sequential_executor.cc:516 ExecuteKernel] Non-zero status code returned';
  const expected = {
    level: 'error',
    source: 'onnxruntime',
    where: 'sequential_executor.cc:516 ExecuteKernel',
    words: 'Non-zero status code returned',
  };
  expect(readNativeLine(plain)).toEqual(expected);
  expect(readNativeLine(`\u001b[1;31m${plain}\u001b[m`)).toEqual(expected);
  expect(readNativeLine(plain.replace('[E:', '[W:'))).toMatchObject({ level: 'warn' });
  expect(readNativeLine('terminate called after throwing')).toEqual({
    level: 'warn',
    source: 'stderr',
    words: 'terminate called after throwing',
  });
  expect(readNativeLine('  ')).toBeUndefined();
});

it('logs whole lines however they come, the last one without its end, and cuts what never ends', async () => {
  const lines: unknown[] = [];
  const log = pino({ base: null }, { write: (text: string) => void lines.push(JSON.parse(text)) });
  const stream = new PassThrough();
  logNativeLines(stream, log);
  stream.write('first ha');
  stream.write('lf\nsecond\n');
  stream.write('x'.repeat(20_000));
  stream.end('last');
  await new Promise((resolve) => stream.once('end', resolve));
  await new Promise(setImmediate);
  expect(lines).toMatchObject([
    { msg: 'first half', source: 'stderr' },
    { msg: 'second' },
    { msg: 'x'.repeat(16_384) },
    { msg: 'last' },
  ]);
});
