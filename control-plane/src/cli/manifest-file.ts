// A manifest as it is sent to the registry, which takes no files beside it.
import { Manifest } from '@edgeloop/shared/manifest';
import { namesTokenizers, withTokenizers } from '@edgeloop/shared/node/tokenizer-files';

/** With what stands in the tokenizer's file that it names, in this folder. Throws `not_found` when there is none. */
export async function withTokenizerFiles(file: Blob, folder: string): Promise<Blob> {
  const manifest = Manifest.safeParse(parsedJson(await file.text()));
  // What is wrong with it, the server says.
  if (!manifest.success || !namesTokenizers(manifest.data)) return file;
  return new Blob([JSON.stringify(await withTokenizers(manifest.data, [folder]))]);
}

/** Whether the files are those of a pipeline. What is wrong with the manifest, the server says. */
export function saysPipeline(text: string): boolean {
  const manifest = parsedJson(text);
  return typeof manifest === 'object' && manifest !== null && 'pipeline' in manifest;
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
