import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Manifest, type ManifestInput } from '@edgeloop/shared/manifest';
import { withTokenizers } from '@edgeloop/shared/node/tokenizer-files';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { encodeGraph } from '../../../../test/support/onnx-models.ts';
import { servePredict } from './predict-fixture.ts';
import { bytePairs, expected, unigram, wordPiece } from './tokenizer-fixture.ts';

const served = await servePredict();
const { post } = served;

type Dims = (number | string)[];

/** Tokens `input_ids`, and their mask and types where wanted -> the same, and `hidden`: [the token, 1] for each. */
function echo({
  dims = ['n', 't'],
  more = ['attention_mask', 'token_type_ids'],
}: {
  dims?: Dims;
  more?: string[];
} = {}) {
  const names = ['input_ids', ...more];
  const table = Float32Array.from({ length: 600 }, (_, i) => (i % 2 === 0 ? i / 2 : 1));
  return encodeGraph({
    inputs: names.map((name) => ({ name, type: 'int64', dims })),
    outputs: [
      ...names.map((name) => ({ name: `${name}-out`, type: 'int64' as const, dims })),
      { name: 'hidden', type: 'float', dims: [...dims, 2] },
    ],
    initializers: [{ name: 'table', dims: [300, 2], data: table }],
    nodes: [
      ...names.map((name) => ({ opType: 'Identity', inputs: [name], outputs: [`${name}-out`] })),
      { opType: 'Gather', inputs: ['table', 'input_ids'], outputs: ['hidden'] },
    ],
  });
}

const takes = (tokenizer: object, more: object = {}, outputs: ManifestInput['outputs'] = {}): ManifestInput => ({
  inputs: { input_ids: { text: { tokenizer: { ...tokenizer }, ...more } } },
  outputs,
});

beforeAll(async () => {
  await served.load('wordPiece', echo(), takes(wordPiece));
  await served.load('bytePairs', echo({ more: ['attention_mask'] }), takes(bytePairs));
  await served.load('unigram', echo({ more: ['attention_mask'] }), takes(unigram));
  await served.load('short', echo(), takes(wordPiece, { maxTokens: 4 }));
  await served.load('fixed', echo({ dims: [1, 6], more: ['attention_mask'] }), takes(bytePairs));
  await served.load('bare', echo({ more: [] }), takes(wordPiece));
  const left = { ...bytePairs, padding: { ...bytePairs.padding, direction: 'Left' } };
  await served.load(
    'left',
    echo({ more: ['attention_mask'] }),
    takes(left, {}, { embedding: { output: 'hidden', pooling: 'cls' } }),
  );
  for (const pooling of ['mean', 'cls'] as const) {
    await served.load(pooling, echo(), takes(wordPiece, {}, { embedding: { output: 'hidden', pooling } }));
  }
  await served.load(
    'unit',
    echo(),
    takes(wordPiece, {}, { embedding: { output: 'hidden', pooling: 'mean', normalise: true } }),
  );
});
afterAll(() => served.close());

const Answer = z.object({
  outputs: z.array(z.object({ name: z.string(), data: z.array(z.number()) })),
  warnings: z.array(z.string()).optional(),
});

async function tensors(model: string, request: object | string, type?: string) {
  const { status, body } = await post(`/predict/${model}`, request, type);
  expect(status, JSON.stringify(body)).toBe(200);
  const { outputs, warnings } = Answer.parse(body);
  const dataOf = (name: string) => outputs.find((output) => output.name === `${name}-out`)?.data;
  return {
    input_ids: dataOf('input_ids'),
    attention_mask: dataOf('attention_mask'),
    token_type_ids: dataOf('token_type_ids'),
    warnings,
  };
}

describe('texts', () => {
  it.each([
    ['wordPiece', expected.wordPiece],
    ['bytePairs', expected.bytePairs],
  ] as const)('become the tokens that the Python library makes: %s', async (model, texts) => {
    for (const [text, ids] of texts) {
      expect(await tensors(model, { text }), text).toMatchObject({ input_ids: ids, attention_mask: ids.map(() => 1) });
      expect(await tensors(model, text, 'text/plain'), text).toMatchObject({ input_ids: ids });
    }
  });

  it.each([
    // -2 - 3, where "▁p" and "ump" would be -8.5.
    ['the pump', [4, 5]],
    ['the pumps.', [4, 5, 6, 12]],
    // -1 - 1: the longest first piece, "▁ab", would lead to -12.
    ['abc', [7, 8]],
    // What is in no piece is one unknown, however long.
    ['the ☃☃ pump', [4, 11, 3, 5]],
  ])('become the likeliest pieces of a Unigram model: %s', async (text, ids) => {
    expect(await tensors('unigram', { text })).toMatchObject({ input_ids: [0, ...ids, 2] });
  });

  it('of a Unigram model are filled up with its own token, and pairs are told apart as it says', async () => {
    expect(await tensors('unigram', { texts: ['abc', 'the pumps.'] })).toMatchObject({
      input_ids: [0, 7, 8, 2, 1, 1, 0, 4, 5, 6, 12, 2],
      attention_mask: [1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1],
    });
    expect(await tensors('unigram', { text: ['abc', 'the'] })).toMatchObject({ input_ids: [0, 7, 8, 2, 2, 4, 2] });
  });

  it('of different lengths go into one run, filled up as the tokenizer says', async () => {
    const texts = ['the pump', 'the pump is hot'];
    expect(await tensors('wordPiece', { texts })).toMatchObject({
      input_ids: [2, 57, 50, 3, 0, 0, 2, 57, 50, 62, 51, 3],
      attention_mask: [1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1],
      token_type_ids: new Array(12).fill(0),
    });
    expect(await tensors('bytePairs', { texts })).toMatchObject({
      input_ids: [0, 269, 263, 2, 1, 1, 1, 0, 269, 263, 223, 284, 271, 2],
    });
    expect(await tensors('fixed', { text: 'the pump' })).toMatchObject({
      input_ids: [0, 269, 263, 2, 1, 1],
      attention_mask: [1, 1, 1, 1, 0, 0],
    });
  });

  it('are told from requests that a browser calls plain text', async () => {
    const request = JSON.stringify({ text: 'the pump' });
    expect(await tensors('wordPiece', request, 'text/plain;charset=UTF-8')).toMatchObject({
      input_ids: [2, 57, 50, 3],
    });
    for (const text of ['{ the pump', '{"the": "pump"}']) {
      const { input_ids: ids } = await tensors('wordPiece', text, 'text/plain');
      expect(ids).toEqual((await tensors('wordPiece', { text })).input_ids);
      expect(ids?.length).toBeGreaterThan(4);
    }
  });

  it('may be pairs', async () => {
    expect(await tensors('wordPiece', { text: ['the pump', 'is hot'] })).toMatchObject({
      input_ids: [2, 57, 50, 3, 62, 51, 3],
      token_type_ids: [0, 0, 0, 0, 1, 1, 1],
    });
  });

  it('are cut to what the model takes, which the answer says', async () => {
    expect(await tensors('short', { texts: ['the pump', 'the pump is hot'] })).toMatchObject({
      input_ids: [2, 57, 50, 3, 2, 57, 50, 3],
      warnings: ['text 2 has 6 tokens, the model read the first 4'],
    });
    expect(await tensors('fixed', { text: 'the pump is leaking' })).toMatchObject({
      input_ids: [0, 269, 263, 223, 284, 2],
      warnings: [expect.stringContaining('the model read the first 6')],
    });
    expect(await tensors('wordPiece', { text: 'the pump' })).toEqual(expect.objectContaining({ warnings: undefined }));
  });

  it('become vectors, the places that are filled up left out', async () => {
    const texts = ['the pump', 'the pump is hot'];
    const vector = (sum: number, count: number) => ({
      embedding: [expect.closeTo(sum / count, 4), expect.closeTo(1, 5)],
    });
    expect((await post('/predict/mean', { texts })).body).toMatchObject({
      predictions: [vector(2 + 57 + 50 + 3, 4), vector(2 + 57 + 50 + 62 + 51 + 3, 6)],
    });
    expect((await post('/predict/cls', { text: 'the pump' })).body).toMatchObject({ embedding: [2, 1] });
    expect((await post('/predict/left', { texts })).body).toMatchObject({
      predictions: [{ embedding: [0, 1] }, { embedding: [0, 1] }],
    });
    const { body } = await post('/predict/unit', { text: 'the pump' });
    expect(body).toMatchObject({
      embedding: [expect.closeTo(28 / Math.hypot(28, 1), 5), expect.closeTo(1 / Math.hypot(28, 1), 5)],
    });
    expect((await served.get('/predict/unit')).body).toMatchObject({
      task: 'embedding',
      takes: ['application/json', 'text/plain'],
      texts: { input: 'input_ids', maxTokens: 512 },
    });
  });

  const error = (reason: string) => ({ error: expect.stringContaining(reason) });

  it.each([
    ['wordPiece', {}, 400, 'the model takes a text'],
    ['wordPiece', { text: 'a', texts: ['b'] }, 400, 'both text and texts'],
    ['wordPiece', { texts: [] }, 400, 'request.texts'],
    ['wordPiece', { text: 'a'.repeat(16_385) }, 413, 'text 1: texts are taken up to 16384 characters'],
    ['wordPiece', { texts: new Array(17).fill('a'.repeat(16_000)) }, 413, 'text 17: texts are taken up to'],
    ['short', { text: ['the pump', 'is hot'] }, 413, 'text 1 has 7 tokens, pairs are taken up to 4'],
    ['bare', { texts: ['the pump', 'the pump is hot'] }, 400, 'no input "attention_mask"'],
    ['fixed', { texts: ['the pump', 'the pump'] }, 400, 'shape [2,6]'],
  ])('are refused by %s (case %#)', async (model, request, status, reason) => {
    const answer = await post(`/predict/${model}`, request);
    expect(answer).toEqual({ status, body: error(reason) });
  });

  it('are refused where the model takes none', async () => {
    await served.load('deaf', echo({ more: [] }), { inputs: { input_ids: { value: 1 } } });
    expect((await post('/predict/deaf', { text: 'a' })).body).toEqual(error('the model takes no text'));
  });
});

describe('manifests of texts', () => {
  it('are refused at load when they contradict the model', async () => {
    const load = (manifest: ManifestInput) => served.load('wrong', echo(), manifest);
    await expect(load({ inputs: { input_ids: { text: { tokenizer: 'tokenizer.json' } } } })).rejects.toThrow(
      'inputs.input_ids.text.tokenizer: the file "tokenizer.json" did not come with the manifest',
    );
    await expect(load(takes({ model: { type: 'WordLevel' } }))).rejects.toThrow(
      'is no tokenizer.json with a WordPiece',
    );
    await expect(load(takes(wordPiece, {}, { embedding: { output: 'h' } }))).rejects.toThrow(
      'the model has no output "h"',
    );
    await expect(load(takes(wordPiece, {}, { embedding: { output: 'input_ids-out' } }))).rejects.toThrow(
      'INT64 is no vector',
    );
    const mean = { outputs: { embedding: { output: 'hidden', pooling: 'mean' as const } } };
    await expect(load({ inputs: { input_ids: { value: 1 } }, ...mean })).rejects.toThrow('is for tokens of texts');
    const long = takes(wordPiece, { maxTokens: 7 });
    await expect(served.load('wrong', echo({ dims: [1, 6] }), long)).rejects.toThrow('7 do not fit the input [1,6]');
  });

  it('take in what stands in the files that they name', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tokenizer-'));
    const naming = Manifest.parse({ inputs: { a: { value: 1 }, input_ids: { text: { tokenizer: 'tok.json' } } } });
    await expect(withTokenizers(naming, [folder])).rejects.toThrow(
      'the tokenizer "tok.json" that the manifest names is not',
    );
    writeFileSync(join(folder, 'tok.json'), JSON.stringify(wordPiece));
    const whole = await withTokenizers(naming, [join(folder, 'nowhere'), folder]);
    rmSync(folder, { recursive: true });
    expect(whole).toEqual(
      Manifest.parse({ inputs: { a: { value: 1 }, input_ids: { text: { tokenizer: wordPiece } } } }),
    );
    expect(Manifest.safeParse({ inputs: { a: { text: { tokenizer: '../x' } } } }).success).toBe(false);
  });
});
