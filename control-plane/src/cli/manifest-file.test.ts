import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { withTokenizerFiles } from './manifest-file.ts';

describe('a manifest on its way to the registry', () => {
  const folder = mkdtempSync(join(tmpdir(), 'manifest-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const sent = async (text: string) => (await withTokenizerFiles(new Blob([text]), folder)).text();

  it('holds what stands in the tokenizer that it names', async () => {
    const naming = JSON.stringify({ inputs: { ids: { text: { tokenizer: 'tokenizer.json' } } } });
    await expect(sent(naming)).rejects.toThrow(
      'the tokenizer "tokenizer.json" that the manifest names is not beside it',
    );
    writeFileSync(join(folder, 'tokenizer.json'), '{"model": {"type": "BPE"}}');
    expect(JSON.parse(await sent(naming))).toMatchObject({
      inputs: { ids: { text: { tokenizer: { model: { type: 'BPE' } } } } },
    });
  });

  it('goes as it is where it names none, also when it is wrong', async () => {
    for (const text of ['{"task": "regression"}', '{', '{"task": 1}']) expect(await sent(text)).toBe(text);
  });
});
