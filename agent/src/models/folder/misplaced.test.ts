import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { identity } from '../../../../test/support/onnx-models.ts';
import type { Misplaced } from '../../process/ipc.ts';
import { FolderModels } from './folder.ts';
import { scanFolder } from './scan.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'misplaced-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function put(path: string, bytes: string | Uint8Array = 'a model'): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), bytes);
}

const long = 'a'.repeat(64);

describe('what is nearly right in a folder of models', () => {
  it.each<[path: string, name: string, version: string, reason: RegExp]>([
    ['flat.onnx', 'flat.onnx', '', /put it at flat\/1\/model\.onnx/],
    ['two words.ONNX', 'two words.ONNX', '', /put it at NAME\/1\/model\.onnx/],
    ['net/model.onnx', 'net', '', /"model\.onnx" is in no version's folder; put it at net\/1\/model\.onnx/],
    ['net/7.onnx', 'net', '', /put it at net\/7\/model\.onnx/],
    ['1/model.onnx', '1', '', /serve the folder above it/],
    ['net/v1/model.onnx', 'net', 'v1', /"v1" is no version.*such as 1$/],
    ['net/v12/model.onnx', 'net', 'v12', /such as 12$/],
    ['net/0001/model.onnx', 'net', '0001', /"0001" is no version.*such as 1$/],
    ['net/0/model.onnx', 'net', '0', /"0" is no version.*from 1/],
    ['net/1.0/model.onnx', 'net', '1.0', /"1\.0" is no version/],
    ['net/latest/model.onnx', 'net', 'latest', /"latest" is no version/],
    ['net/20261127123456/model.onnx', 'net', '20261127123456', /to 999999999/],
    ['net/1/net.onnx', 'net', '1', /its file is called "net\.onnx"; call it model\.onnx/],
    ['net/1/Model.ONNX', 'net', '1', /"Model\.ONNX"; call it model\.onnx/],
    ['net/1/1/model.onnx', 'net', '1', /one folder too deep, in "1"/],
    ['net/net/3/model.onnx', 'net', 'net', /one folder too deep; it belongs at net\/3\/model\.onnx/],
    ['net/1/model.pt', 'net', '1', /"model\.pt" and no model\.onnx; only ONNX/],
    ['net/config.pbtxt', 'net', '', /config\.pbtxt is not read.*net\/1\/model\.onnx/],
    ['net/model.json', 'net', '', /model\.json and no model/],
    [`${long}/1/model.onnx`, long, '', /name must be 1 to 63 letters/],
    ['Türe/1/model.onnx', 'Türe', '', /name must be .* give the folder another name/],
    ['my model/1/model.onnx', 'my model', '', /name must be/],
    ['_net/model.onnx', '_net', '', /name must be/],
  ])('%s is told', async (path, name, version, reason) => {
    put(path);
    const { models, misplaced } = await scanFolder(root);
    expect(models).toEqual([]);
    expect(misplaced).toEqual([{ name, version, reason: expect.stringMatching(reason) }]);
  });

  it('an empty folder of a version, several files in one, and a folder behind a link are told, too', async () => {
    mkdirSync(join(root, 'empty/1'), { recursive: true });
    put('many/2/a.onnx');
    put('many/2/b.onnx');
    put('elsewhere.onnx');
    mkdirSync(join(root, 'linked'));
    symlinkSync(join(root, 'many/2'), join(root, 'linked/v2'));
    const { misplaced } = await scanFolder(root);
    expect(misplaced.map(({ name, version, reason }) => `${name} ${version} ${reason}`)).toEqual([
      expect.stringMatching(/^elsewhere\.onnx /),
      expect.stringMatching(/^empty 1 it is empty/),
      expect.stringMatching(/^linked v2 "v2" is no version/),
      expect.stringMatching(/^many 2 it holds "a\.onnx", "b\.onnx"; call the one to serve model\.onnx/),
    ]);
  });

  it('beside a version that is right, a wrong one is told and the right one found', async () => {
    put('net/1/model.onnx');
    put('net/2/net.onnx');
    put('net/v3/model.onnx');
    const { models, misplaced } = await scanFolder(root);
    expect(models).toMatchObject([{ name: 'net', versions: [{ version: 1 }] }]);
    expect(misplaced.map(({ version }) => version)).toEqual(['2', 'v3']);
  });

  it('what belongs to others is left alone', async () => {
    for (const path of ['README.md', 'docs/1/page.html', 'photos/2024/a.jpg', '.git/x.onnx', 'right/1/model.onnx'])
      put(path);
    put('right/notes/readme.txt');
    put('right/1/weights.bin');
    mkdirSync(join(root, 'void'));
    expect((await scanFolder(root)).misplaced).toEqual([]);
  });

  it('is logged once: at once at the start, later when it stays, and told to whoever loads it', async () => {
    const lines: { model?: string; msg?: string }[] = [];
    let told: readonly Misplaced[] = [];
    const models = new FolderModels({
      folder: root,
      serving: {
        processes: [{ load: async () => undefined, activate: async () => undefined, unload: async () => undefined }],
        tell: (_, misplaced) => {
          told = misplaced ?? [];
        },
      },
      prove: async () => undefined,
      tuned: async (model) => model,
      quarantine: { blame: () => undefined, reasonFor: () => undefined, isSuspected: () => false },
      log: pino({ base: null }, { write: (text: string) => void lines.push(JSON.parse(text)) }),
      lookSoon: () => undefined,
    });
    const logged = () => lines.filter(({ msg }) => msg === 'is not served').map(({ model }) => model);
    put('first/v1/model.onnx');
    await models.look();
    expect(logged()).toEqual(['first']);
    put('second/v1/model.onnx', identity('float', ['n']));
    await models.look();
    expect(told.map(({ name }) => name)).toEqual(['first', 'second']);
    expect(logged()).toEqual(['first']);
    await models.look();
    await models.look();
    expect(logged()).toEqual(['first', 'second']);
    await expect(models.control('load', 'second')).rejects.toThrow(
      /holds none of this name that can be served: version v1: "v1" is no version/,
    );
    rmSync(join(root, 'first'), { recursive: true });
    await models.look();
    expect(told.map(({ name }) => name)).toEqual(['second']);
  });
});
