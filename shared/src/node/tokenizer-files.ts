// A manifest may name a tokenizer's file; what stands in it travels in the manifest, so that it comes wherever the model does.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { AppError, parseJson } from '../errors.ts';
import type { Manifest } from '../manifest.ts';
import { isMissing } from './durable-files.ts';

const Content = z.record(z.string(), z.unknown());

/** The manifest with the content of tokenizer files, from the first of the folders that has them. Throws `not_found`. */
export async function withTokenizers(manifest: Manifest, folders: readonly string[]): Promise<Manifest> {
  const inputs: Manifest['inputs'] = {};
  for (const [name, input] of Object.entries(manifest.inputs)) {
    const { text } = input;
    inputs[name] =
      typeof text?.tokenizer === 'string'
        ? { ...input, text: { ...text, tokenizer: await contentOf(text.tokenizer, folders) } }
        : input;
  }
  return { ...manifest, inputs };
}

/** Whether there is a file to be read. */
export function namesTokenizers({ inputs }: Manifest): boolean {
  return Object.values(inputs).some(({ text }) => typeof text?.tokenizer === 'string');
}

async function contentOf(file: string, folders: readonly string[]): Promise<Record<string, unknown>> {
  for (const folder of folders) {
    const text = await readFile(join(folder, file), 'utf8').catch((cause: unknown) => {
      if (isMissing(cause)) return undefined;
      throw cause;
    });
    if (text !== undefined) return parseJson(Content, text, file);
  }
  throw new AppError('not_found', `the tokenizer "${file}" that the manifest names is not beside it`);
}
