import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, describe, expect, it } from 'vitest';
import { identity } from '../../../../test/support/onnx-models.ts';
import { FolderModels } from './folder.ts';

describe('the models of a folder', () => {
  const root = mkdtempSync(join(tmpdir(), 'folder-'));
  afterAll(() => rmSync(root, { recursive: true }));

  function write(folder: string, version: number): string {
    const path = join(root, folder, 'net', String(version));
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, 'model.onnx'), identity('float', ['n']));
    return join(root, folder);
  }

  it('are loaded at once when somebody asks for them, also while the folder is being read', async () => {
    const loaded: number[] = [];
    const models = new FolderModels({
      folder: write('own', 2),
      serving: {
        processes: [
          {
            load: async ({ version }) => void loaded.push(version),
            activate: async () => undefined,
            unload: async () => undefined,
          },
        ],
        tell: () => undefined,
      },
      prove: async () => undefined,
      tuned: async (model) => model,
      quarantine: { blame: () => undefined, reasonFor: () => undefined, isSuspected: () => false },
      log: pino({ level: 'silent' }),
      lookSoon: () => undefined,
    });
    await models.look();
    for (let turns = 0; turns < 400; turns += 8) {
      await models.control('load', 'net', { manifest: {}, root: write(`override-${turns}`, 9) });
      const looked = models.look();
      for (let i = 0; i < turns; i++) await new Promise(setImmediate);
      await models.control('load', 'net');
      expect(loaded.splice(0)).toContain(2);
      await looked;
    }
  });
});
