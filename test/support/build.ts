// Before any test: the build is what the sources say. Programs and the children of tested modules run it.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export default function build(): void {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  // A wrong type is told and keeps no test from running.
  const { error } = spawnSync('node_modules/.bin/tsc', ['-b'], { cwd: root, stdio: 'inherit' });
  if (error !== undefined) throw error;
}
